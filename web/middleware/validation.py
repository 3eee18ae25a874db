"""What text from outside may look like: the one place that declares forms and limits.

`web/middleware/gate.py` applies `check_head` to every request before anything else reads it,
`web/middleware/json_body.py` applies `check_json` to every JSON body. Routes use the forms of ids.
"""

import json
import re
from functools import lru_cache
from math import isinf
from typing import Any
from urllib.parse import unquote_to_bytes

from tasks.errors import BadInput
from tasks.text import shown

HEAD = "pixelmill.head"
"""Key of the ASGI scope under which the gate leaves the checked headers, by name."""

Headers = list[tuple[bytes, bytes]]
"""As ASGI gives them: names in lower case."""

MOST_PATH_BYTES = 1024
MOST_QUERY_BYTES = 8192
MOST_QUERY_FIELDS = 100
MOST_HEADERS = 100
MOST_HEADER_BYTES = 32 * 1024
"""All names and values of one request together."""
MOST_VALUE_BYTES = 8192
"""One header value."""

MOST_JSON_BYTES = 256 * 1024
MOST_JSON_DEPTH = 16
MOST_JSON_VALUES = 10_000
"""All values inside one JSON body, names included."""
MOST_TEXT = 8192
"""Characters of one string in a JSON body."""
MOST_PASSWORD = 256

OBJECT_ID = re.compile("[0-9a-f]{32}")
"""Ids of jobs and of uploads."""
MODEL = re.compile(r"[^\W\d]\w{0,63}")
"""A model is named after its file, so its name is a Python identifier."""
USER = re.compile(r"[A-Za-z0-9_@+-][A-Za-z0-9._@+-]{0,63}")
API_KEY = re.compile(r"[A-Za-z0-9._~+/=-]{1,200}")
EVENT_ID = re.compile(r"[0-9]{1,16}(\.[0-9]{1,6})?")
OBJECT_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+=/-]{0,500}")
"""Of an object in the bucket, as in storage/keys.py."""

HEADER_FORMS: dict[bytes, re.Pattern[bytes]] = {
    b"host": re.compile(rb"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"),
    b"content-length": re.compile(rb"[0-9]{1,15}"),
    b"content-type": re.compile(rb"[A-Za-z0-9!#$&^_.+-]{1,64}/[\x20-\x7e]{1,190}"),
    b"authorization": re.compile(rb"[\x20-\x7e]{1,1024}"),
    b"idempotency-key": re.compile(rb"[\x20-\x7e]{1,200}"),
    b"last-event-id": re.compile(rb"[\x20-\x7e]{0,64}"),
    b"range": re.compile(rb"[\x20-\x7e]{1,256}"),
    b"if-match": re.compile(rb"[\x20-\x7e]{1,1024}"),
    b"if-none-match": re.compile(rb"[\x20-\x7e]{1,1024}"),
    b"origin": re.compile(rb"null|[a-z][a-z0-9+.-]{0,30}://[A-Za-z0-9._\[\]:-]{1,300}"),
    b"sec-fetch-site": re.compile(rb"[a-z-]{1,32}"),
    b"x-forwarded-host": re.compile(rb"[A-Za-z0-9._\[\]:, -]{1,300}"),
    b"x-forwarded-proto": re.compile(rb"[A-Za-z, ]{1,64}"),
}
"""The headers that Pixelmill and its libraries read; each comes once at most."""

_PLAIN_PATH = re.compile(rb"/|(?:/[\w~!$&'()*+,;=:@-][\w.~!$&'()*+,;=:@-]*)+/?", re.ASCII)
"""No escapes, no dot segments, no empty segments: nearly every path."""
_PLAIN_QUERY = re.compile(rb"[\w.~!$'()*,;:@/?&=-]*", re.ASCII)
_NOT_PLAIN = re.compile(rb"[^\t\x20-\x7e]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Line breaks and tabs belong to text that people write."""
_PLAIN_JSON_BYTES = 4096
_REMEMBERED_BYTES = 2048


def check_head(path: bytes, query: bytes, headers: Headers) -> dict[bytes, bytes]:
    """The headers by name, if path, query string and headers are well formed; else BadInput.

    `path` and `query` are as they came over the wire, with percent escapes.
    """
    if not _PLAIN_PATH.fullmatch(path) or len(path) > MOST_PATH_BYTES:
        _check_path(path)
    if not _PLAIN_QUERY.fullmatch(query) or len(query) > MOST_QUERY_BYTES:
        _check_query(query)
    if query.count(b"&") >= MOST_QUERY_FIELDS:
        raise _bad(f"the query has more than {MOST_QUERY_FIELDS} fields")
    return _check_headers(headers)


def is_form(form: re.Pattern[str], text: str) -> bool:
    """Whether the whole text has this form."""
    return form.fullmatch(text) is not None


def is_text(text: str, most: int) -> bool:
    """Whether this is text that people write: Unicode without control characters, not too long."""
    return len(text) <= most and not _CONTROL_IN_TEXT.search(text) and _is_unicode(text)


def check_json(data: bytes) -> Any:
    """The value, if this is JSON that means the same to everybody who reads it; else BadInput 422.

    UTF-8, every name once in its object, finite numbers of 64 bits, no lone surrogates and no
    control characters in strings; depth, number of values and length of strings are bounded.
    """
    try:
        value = _JSON.decode(data.decode("utf-8"))
    except RecursionError:
        raise _bad_json(f"it is nested more than {MOST_JSON_DEPTH} levels deep") from None
    except UnicodeDecodeError as error:
        raise _bad_json(f"it is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise _bad_json(f"{error.msg} at character {error.pos}") from None
    if not _is_plain_json(data):
        _check_values(value)
    return value


def _is_plain_json(data: bytes) -> bool:
    """Whether nothing in it can break a limit, seen without walking through it."""
    is_short = len(data) <= _PLAIN_JSON_BYTES
    is_plain = is_short and data.isascii() and b"\\" not in data and b"\x7f" not in data
    return is_plain and data.count(b"[") + data.count(b"{") <= MOST_JSON_DEPTH


def _check_path(path: bytes) -> None:
    if len(path) > MOST_PATH_BYTES:
        raise _bad(f"the path is longer than {MOST_PATH_BYTES} bytes", status=414)
    text = _text_of(path, "the path")
    if _CONTROL.search(text):
        raise _bad("the path contains control characters")
    if "\\" in text:
        raise _bad("the path contains a backslash")
    first, *segments = text.split("/")
    if first or not segments or not _are_plain(segments):
        raise _bad("the path contains empty segments or dot segments")


def _are_plain(segments: list[str]) -> bool:
    """Only the last segment may be empty: the path of a folder."""
    return "" not in segments[:-1] and not {".", ".."} & set(segments)


def _check_query(query: bytes) -> None:
    if len(query) > MOST_QUERY_BYTES:
        raise _bad(f"the query is longer than {MOST_QUERY_BYTES} bytes", status=414)
    if not query.isascii():
        raise _bad("the query contains bytes that are not percent-encoded")
    text = _text_of(query.replace(b"+", b" "), "the query")
    if _CONTROL_IN_TEXT.search(text):
        raise _bad("the query contains control characters")


def _text_of(quoted: bytes, what: str) -> str:
    try:
        return unquote_to_bytes(quoted).decode("utf-8")
    except UnicodeDecodeError:
        raise _bad(f"{what} is not UTF-8") from None


def _check_headers(headers: Headers) -> dict[bytes, bytes]:
    everything = b"\n".join([part for header in headers for part in header])
    if len(everything) > MOST_HEADER_BYTES or len(headers) > MOST_HEADERS:
        limit = f"{MOST_HEADERS} headers and {MOST_HEADER_BYTES} bytes"
        raise _too_large(f"the request has more than {limit} of headers")
    is_split = everything.count(b"\n") == 2 * len(headers) - 1  # by our own line breaks alone
    if is_split and len(everything) <= _REMEMBERED_BYTES:
        _judge_remembered(everything)
    else:
        _judge(headers)
    return dict(headers)


@lru_cache(maxsize=512)
def _judge_remembered(everything: bytes) -> None:
    """Clients send the same headers again and again: judged once, they cost next to nothing."""
    parts = everything.split(b"\n")
    _judge(list(zip(parts[::2], parts[1::2], strict=True)))


def _judge(headers: Headers) -> None:
    _check_repeated([name for name, _ in headers])
    if any(_NOT_PLAIN.search(part) for header in headers for part in header):
        _check_odd(headers)
    for name, value in headers:
        form = HEADER_FORMS.get(name)
        if form is not None and not form.fullmatch(value):
            raise _bad(f"the header {name.decode()} is not well formed")


def _check_repeated(names: list[bytes]) -> None:
    repeated = {name for name in names if name in HEADER_FORMS and names.count(name) > 1}
    if repeated:
        raise _bad(f"the header {min(repeated).decode()} came more than once")


def _check_odd(headers: Headers) -> None:
    """Headers with bytes beyond ASCII; of cookies only our own is read, see gate.py."""
    for name, value in headers:
        if len(value) > MOST_VALUE_BYTES:
            raise _too_large(f"the header {shown(name.decode('latin-1'))} is too long")
        if name != b"cookie" and not (_is_header_text(value) and name.isascii()):
            raise _bad(f"the header {shown(name.decode('latin-1'))} is not well formed")


def _is_header_text(value: bytes) -> bool:
    try:
        return not _CONTROL.search(value.decode("utf-8").replace("\t", " "))
    except UnicodeDecodeError:
        return False


def _check_values(value: Any) -> None:
    """Walk through decoded JSON without recursion."""
    waiting: list[tuple[Any, int]] = [(value, 1)]
    count = 0
    while waiting:
        one, depth = waiting.pop()
        count += 1
        if depth > MOST_JSON_DEPTH:
            raise _bad_json(f"it is nested more than {MOST_JSON_DEPTH} levels deep")
        inside = _inside(one)
        waiting += [(part, depth + 1) for part in inside]
        if count + len(waiting) > MOST_JSON_VALUES:
            raise _bad_json(f"it has more than {MOST_JSON_VALUES} values")


def _inside(value: Any) -> list[Any]:
    """What a value contains, once it is checked itself."""
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list):
        return value
    if isinstance(value, str) and not is_text(value, MOST_TEXT):
        raise _bad_json(
            f"a string has control characters, broken surrogates or over {MOST_TEXT} characters"
        )
    return []


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise json.JSONDecodeError("a name appears twice in one object", "", 0)
    return found


def _no_number(name: str) -> Any:
    raise json.JSONDecodeError(f"{name} is no number", "", 0)


def _whole(digits: str) -> int:
    # Python itself refuses the longest, with another error.
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
    object_pairs_hook=_unique, parse_constant=_no_number, parse_int=_whole, parse_float=_fraction
)


def _bad(message: str, *, status: int = 400) -> BadInput:
    return BadInput(message, code="bad_request", status=status, hint="See /docs.")


def _too_large(message: str) -> BadInput:
    hint = "Delete the cookies of this site, or send fewer headers."
    return BadInput(message, code="headers_too_large", status=431, hint=hint)


def _bad_json(why: str) -> BadInput:
    return BadInput(f"the body is no JSON that is accepted: {why}", code="bad_request",
                    hint="See /docs.")  # fmt: skip
