"""What text from outside may look like: the one place that declares its patterns and limits.

`web/middleware/security.py` applies `check_head` to every request before other code reads it,
`web/middleware/json_body.py` applies `check_json` to every JSON body, and routes use the patterns
of ids.
"""

import json
import re
from functools import lru_cache
from math import isinf
from typing import Any
from urllib.parse import unquote_to_bytes

from tasks.errors import BadInput
from web.header_limits import MAX_HEADER_BYTES, MAX_HEADERS
from web.text import shown

HEAD = "pixelmill.head"
"""Key of the ASGI scope under which security.py leaves the validated headers, by name."""

Headers = list[tuple[bytes, bytes]]
"""As ASGI passes them: names in lower case."""

MAX_PATH_BYTES = 1024
MAX_QUERY_BYTES = 8192
MAX_QUERY_FIELDS = 100
MAX_VALUE_BYTES = 8192
"""For one header value."""

MAX_JSON_BYTES = 256 * 1024
MAX_JSON_DEPTH = 16
MAX_JSON_VALUES = 10_000
"""For all values inside one JSON body, names included."""
MAX_TEXT = 8192
"""Characters of one string in a JSON body."""
MAX_PASSWORD = 256

OBJECT_ID = re.compile("[0-9a-f]{32}")
"""The id of a job or an upload."""
USER = re.compile(r"[A-Za-z0-9_@+-][A-Za-z0-9._@+-]{0,63}")
KEY_ID = re.compile("[0-9a-f]{16}")
"""The id of an API key."""
API_KEY = re.compile(r"[A-Za-z0-9._~+/=-]{1,200}")
EVENT_ID = re.compile(r"[0-9]{1,16}(\.[0-9]{1,6})?")
OBJECT_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+=/-]{0,500}")
"""The key of an object in the bucket, as storage/object_keys.py builds it."""

HEADER_PATTERNS: dict[bytes, re.Pattern[bytes]] = {
    b"host": re.compile(rb"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"),
    b"content-length": re.compile(rb"[0-9]{1,15}"),
    b"content-type": re.compile(rb"[A-Za-z0-9!#$&^_.+-]{1,64}/[\x20-\x7e]{1,190}"),
    b"authorization": re.compile(rb"[\x20-\x7e]{1,1024}"),
    b"idempotency-key": re.compile(rb"[\x20-\x7e]{1,200}"),
    b"last-event-id": re.compile(rb"[\x20-\x7e]{0,64}"),
    b"accept-language": re.compile(rb"[\x20-\x7e]{0,1024}"),
    b"range": re.compile(rb"[\x20-\x7e]{1,256}"),
    b"if-match": re.compile(rb"[\x20-\x7e]{1,1024}"),
    b"if-none-match": re.compile(rb"[\x20-\x7e]{1,1024}"),
    b"origin": re.compile(rb"null|[a-z][a-z0-9+.-]{0,30}://[A-Za-z0-9._\[\]:-]{1,300}"),
    b"sec-fetch-site": re.compile(rb"[a-z-]{1,32}"),
    b"x-forwarded-host": re.compile(rb"[A-Za-z0-9._\[\]:, -]{1,300}"),
    b"x-forwarded-proto": re.compile(rb"[A-Za-z, ]{1,64}"),
}
"""The headers that Pixelmill and its libraries read; each may come at most once."""

_PLAIN_PATH = re.compile(rb"/|(?:/[\w~!$&'()*+,;=:@-][\w.~!$&'()*+,;=:@-]*)+/?", re.ASCII)
"""A path without escapes, dot segments and empty segments. Nearly every path matches."""
_PLAIN_QUERY = re.compile(rb"[\w.~!$'()*,;:@/?&=-]*", re.ASCII)
_NOT_PLAIN = re.compile(rb"[^\t\x20-\x7e]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Without line breaks and tabs, which belong to text that people write."""
_PLAIN_JSON_BYTES = 4096
_CACHED_BYTES = 2048


def check_head(path: bytes, query: bytes, headers: Headers) -> dict[bytes, bytes]:
    """The headers by name. Raises BadInput if path, query string or headers are malformed.

    `path` and `query` are as they came over the wire, with percent escapes.
    """
    if not _PLAIN_PATH.fullmatch(path) or len(path) > MAX_PATH_BYTES:
        _check_path(path)
    if not _PLAIN_QUERY.fullmatch(query) or len(query) > MAX_QUERY_BYTES:
        _check_query(query)
    if query.count(b"&") >= MAX_QUERY_FIELDS:
        raise _bad(f"the query has more than {MAX_QUERY_FIELDS} fields")
    return _check_headers(headers)


def matches(pattern: re.Pattern[str], text: str) -> bool:
    """Whether the whole text matches the pattern."""
    return pattern.fullmatch(text) is not None


def is_text(text: str, max_length: int) -> bool:
    """Whether this is text that people write: Unicode without control characters, not too long."""
    return len(text) <= max_length and not _CONTROL_IN_TEXT.search(text) and _is_unicode(text)


def check_json(data: bytes) -> Any:
    """The decoded value. Raises BadInput 422 unless every JSON parser would read the same value.

    That is: UTF-8, every name once in its object, finite numbers of 64 bits, no lone surrogates and
    no control characters in strings; depth, number of values and length of strings are bounded.
    """
    try:
        value = _JSON.decode(data.decode("utf-8"))
    except RecursionError:
        raise _bad_json(f"it is nested more than {MAX_JSON_DEPTH} levels deep") from None
    except UnicodeDecodeError as error:
        raise _bad_json(f"it is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        reason = error.msg.removesuffix(" at")  # as in "Unterminated string starting at"
        raise _bad_json(f"{reason} at character {error.pos}") from None
    if not _is_plain_json(data):
        _check_values(value)
    return value


def _is_plain_json(data: bytes) -> bool:
    """Whether it cannot break a limit; if this is true, the values need not be walked through."""
    is_short = len(data) <= _PLAIN_JSON_BYTES
    is_plain = is_short and data.isascii() and b"\\" not in data and b"\x7f" not in data
    return is_plain and data.count(b"[") + data.count(b"{") <= MAX_JSON_DEPTH


def _check_path(path: bytes) -> None:
    if len(path) > MAX_PATH_BYTES:
        raise _bad(f"the path is longer than {MAX_PATH_BYTES} bytes", status=414)
    text = _text_of(path, "the path")
    if _CONTROL.search(text):
        raise _bad("the path contains control characters")
    if "\\" in text:
        raise _bad("the path contains a backslash")
    first, *segments = text.split("/")
    has_odd = "" in segments[:-1] or {".", ".."} & set(segments)  # that of a folder ends with ""
    if first or not segments or has_odd:
        raise _bad("the path contains empty segments or dot segments")


def _check_query(query: bytes) -> None:
    if len(query) > MAX_QUERY_BYTES:
        raise _bad(f"the query is longer than {MAX_QUERY_BYTES} bytes", status=414)
    if not query.isascii():
        raise _bad("the query contains bytes that are not percent-encoded")
    text = _text_of(query.replace(b"+", b" "), "the query")
    if _CONTROL_IN_TEXT.search(text):
        raise _bad("the query contains control characters")


def _text_of(quoted: bytes, name: str) -> str:
    try:
        return unquote_to_bytes(quoted).decode("utf-8")
    except UnicodeDecodeError:
        raise _bad(f"{name} is not UTF-8") from None


def _check_headers(headers: Headers) -> dict[bytes, bytes]:
    everything = b"\n".join([part for header in headers for part in header])
    if len(everything) > MAX_HEADER_BYTES or len(headers) > MAX_HEADERS:
        limit = f"{MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes"
        raise _too_large(f"the request has more than {limit} of headers")
    can_be_split = everything.count(b"\n") == 2 * len(headers) - 1  # only line breaks of our own
    if can_be_split and len(everything) <= _CACHED_BYTES:
        _check_cached(everything)
    else:
        _check_each(headers)
    return dict(headers)


@lru_cache(maxsize=512)
def _check_cached(everything: bytes) -> None:
    """Clients send the same headers again and again; they are checked once."""
    parts = everything.split(b"\n")
    _check_each(list(zip(parts[::2], parts[1::2], strict=True)))


def _check_each(headers: Headers) -> None:
    _check_repeated([name for name, _ in headers])
    if any(_NOT_PLAIN.search(part) for header in headers for part in header):
        _check_non_ascii(headers)
    for name, value in headers:
        if name in HEADER_PATTERNS and not HEADER_PATTERNS[name].fullmatch(value):
            raise _malformed(name)


def _check_repeated(names: list[bytes]) -> None:
    repeated = {name for name in names if name in HEADER_PATTERNS and names.count(name) > 1}
    if repeated:
        raise _bad(f"the header {min(repeated).decode()} came more than once")


def _check_non_ascii(headers: Headers) -> None:
    """Check headers with bytes beyond ASCII. Of cookies only our own is read, see security.py."""
    for name, value in headers:
        if len(value) > MAX_VALUE_BYTES:
            raise _too_large(f"the header {shown(name.decode('latin-1'))} is too long")
        if name != b"cookie" and not (_is_header_text(value) and name.isascii()):
            raise _malformed(name)


def _is_header_text(value: bytes) -> bool:
    try:
        return not _CONTROL.search(value.decode("utf-8").replace("\t", " "))
    except UnicodeDecodeError:
        return False


def _check_values(value: Any) -> None:
    """Check every value inside decoded JSON; without recursion, as its depth is unknown."""
    waiting: list[tuple[Any, int]] = [(value, 1)]
    count = 0
    while waiting:
        item, depth = waiting.pop()
        count += 1
        if depth > MAX_JSON_DEPTH:
            raise _bad_json(f"it is nested more than {MAX_JSON_DEPTH} levels deep")
        inside = _inside(item)
        waiting += [(part, depth + 1) for part in inside]
        if count + len(waiting) > MAX_JSON_VALUES:
            raise _bad_json(f"it has more than {MAX_JSON_VALUES} values")


def _inside(value: Any) -> list[Any]:
    """The values inside this one. Raises BadInput if it is a string that is not allowed."""
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list):
        return value
    if isinstance(value, str) and not is_text(value, MAX_TEXT):
        raise _bad_json(
            f"a string has control characters, broken surrogates or over {MAX_TEXT} characters"
        )
    return []


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise json.JSONDecodeError("a name appears twice in one object", "", 0)
    return value


def _not_a_number(name: str) -> Any:
    raise json.JSONDecodeError(f"{name} is not a number", "", 0)


def _whole(digits: str) -> int:
    # For the longest numbers Python itself raises another error.
    number = int(digits) if len(digits) <= 20 else 2**63
    if not -(2**63) <= number < 2**63:
        raise json.JSONDecodeError("a whole number does not fit into 64 bits", "", 0)
    return number


def _fraction(digits: str) -> float:
    number = float(digits)
    if isinf(number):
        raise json.JSONDecodeError("a number is too large", "", 0)
    return number


_JSON = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_not_a_number, parse_int=_whole, parse_float=_fraction
)


def _bad(message: str, *, status: int = 400) -> BadInput:
    code = "not_signed_in" if status == 401 else "bad_request"
    return BadInput(message, code=code, status=status, hint="See /docs.")


def _malformed(name: bytes) -> BadInput:
    status = 401 if name == b"authorization" else 400  # RFC 6750 says so of malformed keys
    return _bad(f"the header {shown(name.decode('latin-1'))} is not well formed", status=status)


def _too_large(message: str) -> BadInput:
    hint = "Delete the cookies of this site, or send fewer headers."
    return BadInput(message, code="headers_too_large", status=431, hint=hint)


def _bad_json(why: str) -> BadInput:
    return _bad(f"the body is not acceptable JSON: {why}", status=422)
