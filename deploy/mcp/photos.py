"""The photos that a tool is asked to run on: files of this machine, or addresses of the web.

A language model names them, and what it has read may have told it to. So only what begins like a
picture leaves this machine, and only servers of the public internet are asked.
"""

import asyncio
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.errors import BadInput
from tasks.imaging import guard
from tasks.settings import settings
from web.fetching.download import Bounds, download
from web.fetching.targets import Rules

WEB = ("http://", "https://")


@contextmanager
def photo(name: str) -> Iterator[Path]:
    """A file with the photo's bytes while the block runs. Raises BadInput if there is none."""
    if name.lower().startswith(WEB):
        with tempfile.TemporaryDirectory(prefix="pixelmill-") as folder:
            file = Path(folder) / "photo"
            file.write_bytes(_checked(_downloaded(name), name))
            yield file
        return
    file = Path(name).expanduser()
    try:
        if not file.is_file():
            raise BadInput(f"there is no file {file}", hint="Give the photo's whole path.")
        if file.stat().st_size > settings().guard_limits.max_bytes:
            raise BadInput(f"{file} is too large", code="too_large")
        _checked(file.read_bytes(), str(file))
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}") from error
    yield file


def stem(name: str) -> str:
    """The photo's name without its ending, fit for the names of files."""
    path = unquote(urlsplit(name).path) if name.lower().startswith(WEB) else name
    return re.sub(r"[^\w.()-]+", "-", Path(path).stem).strip("-.")[:60] or "photo"


def _downloaded(url: str) -> bytes:
    limits = settings()
    bounds = Bounds(limits.guard_limits.max_bytes, limits.fetch_timeout_s)
    return asyncio.run(download(url, Rules(), bounds))


def _checked(data: bytes, name: str) -> bytes:
    """The bytes, if they are a picture's. Raises BadInput that names the photo."""
    try:
        guard.check(data, settings().guard_limits)
    except BadInput as error:
        raise BadInput(f"{name}: {error}", code=error.code, hint=error.hint) from None
    return data
