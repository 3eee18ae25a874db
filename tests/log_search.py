"""What no log may say: secrets, keys, cookies, signatures, signed addresses, names and contents of
files. Each `Stack` looks through the logs of its processes when it ends."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

PATTERNS = {
    "a signature": rb"(?i)signature=[0-9a-f]{16,}",
    "a signed address": rb"X-Amz-(?:Credential|Security-Token|Algorithm)=",
    "the start of a signed request": rb"AWS4-HMAC-SHA256",
    "an API key": rb"(?i)bearer[ \"':=]+(?!<|\*)[A-Za-z0-9._~+/=-]{6,}",
    "a key of ours": rb"pm_[A-Za-z0-9_-]{12,}",  # lists of keys show less of each
    "a cookie": rb"pixelmill_[0-9a-f]{6,}=[A-Za-z0-9._@+-]{8,}",
    "a password in an address": rb"://[^/\s:@\"']*:(?!\*+@)[^/\s@\"']+@",
    "a picture": rb"\xff\xd8\xff|\\xff\\xd8\\xff|\x89PNG|\\x89PNG|/9j/4AAQ|iVBORw0KGgo",
}
"""What it is -> bytes that give it away, whoever's it is."""
_SECRET_SETTINGS = ("PIXELMILL_SECRET", "PIXELMILL_S3_SECRET", "PIXELMILL_OIDC_CLIENT_SECRET")
_FILE = re.compile(rb"[\w.+%-]*\.(?:jpe?g|png|webp|avif|hei[cf]|tiff?|bmp|gif|jxl)\b")
_OURS = re.compile(
    rb"(?:alpha|mask|preview|cutout|edge_colours|thumb|thumbnail)\.(?:png|webp|avif|jpeg|jpg)"
)
"""Names that Pixelmill itself gives to the pictures of results."""
_AROUND = 60


def found(folder: Path, env: dict[str, str], secrets: Collection[str] = ()) -> list[str]:
    """Every place in the logs of a folder that says what it must not; `secrets` as they are."""
    known = [env.get(name, "") for name in _SECRET_SETTINGS] + list(secrets)
    patterns = {**PATTERNS, **{f"the secret {text[:3]}...": re.escape(text.encode())
                               for text in known if len(text) > 3}}  # fmt: skip
    return [
        place
        for log in sorted(folder.rglob("*.log*"))
        if log.is_file()
        for place in _places(log, patterns)
    ]


def _places(log: Path, patterns: dict[str, bytes]) -> Iterator[str]:
    data = log.read_bytes()
    for what, pattern in patterns.items():
        if match := re.search(pattern, data):
            yield f"{log.name}: {what}: {_around(data, match)}"
    for match in _FILE.finditer(data):
        if not _OURS.fullmatch(match[0]):
            yield f"{log.name}: the name of a file: {_around(data, match)}"
            return


def _around(data: bytes, match: re.Match[bytes]) -> str:
    start = max(match.start() - _AROUND, 0)
    return data[start : match.end() + _AROUND].decode("utf-8", "backslashreplace")
