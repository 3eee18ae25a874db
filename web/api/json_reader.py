"""A JSON body with a picture in it: base64 text, decoded while the body arrives.

`{"image": "<base64 or data URL>", "gain": 2, "params": {"top": 3}}`. The text of the picture is cut
out as it comes, so that neither it nor a second copy of the picture is ever in memory, and no long
text is parsed at once. What is left is a few lines of JSON, which are checked as any others.
"""

import re
from typing import Any

from tasks.errors import BadInput
from tasks.imaging import guard
from web.api.base64_text import Base64Decoder, not_base64
from web.api.received import (
    MAX_PARAMETERS_BYTES,
    PICTURE_NAMES,
    PictureBuffer,
    Received,
    no_picture,
    one_picture_only,
    too_many_parameters,
)
from web.middleware.validation import check_json

HINT = 'Send {"image": "<base64>"} or {"url": "https://..."}; other names are parameters.'
_TOKEN = re.compile(rb'["{}\[\]:,]')
_STOP = re.compile(rb'["\\]')
_ESCAPES = (
    (rb"\/", b"/"), (rb"\n", b""), (rb"\r", b""), (rb"\t", b""),
    (rb"\u002b", b"+"), (rb"\u002B", b"+"), (rb"\u002f", b"/"), (rb"\u002F", b"/"),
    (rb"\u003d", b"="), (rb"\u003D", b"="), (rb"\u000a", b""), (rb"\u000A", b""),
    (rb"\u000d", b""), (rb"\u000D", b""),
)  # fmt: skip
"""How encoders of JSON may write the characters of base64 text, and its line breaks."""
_LONGEST_ESCAPE = 6


class JsonReader:
    """Cuts the picture out of the JSON that arrives, and decodes it.

    It follows the text only as far as it must: through strings and depths. Whether the rest is
    valid JSON is decided at the end, by the same check that all other bodies pass.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes * 3 // 2 + MAX_PARAMETERS_BYTES
        self._picture = PictureBuffer(max_bytes)
        self._rest = bytearray()
        """The JSON with an empty string in the picture's place."""
        self._carried = b""
        """The last bytes of a piece, if they may be half an escape of the picture's text."""
        self._depth, self._name_start, self._name = 0, -1, ""
        self._state = self._outside
        self._text: Base64Decoder | None = None
        self._expects_value = self._has_begun = False

    def write(self, piece: bytes) -> int:
        """Take the next piece; how many bytes of memory it uses. Raises BadInput."""
        before = self._picture.size + len(self._rest)
        piece, position = self._carried + piece, 0
        self._carried = b""
        if not self._has_begun:
            piece = self._begun(piece)
        while position < len(piece):
            position = self._state(piece, position)
        if len(self._rest) > MAX_PARAMETERS_BYTES:
            raise too_many_parameters()
        return self._picture.size + len(self._rest) - before

    def end(self) -> Received:
        """The picture and the fields beside it."""
        if self._state == self._in_picture:
            raise BadInput("the JSON ends within its picture", code="bad_request", hint=HINT)
        value = check_json(bytes(self._rest))
        if not isinstance(value, dict):
            raise no_picture("this JSON", HINT)
        named = [name for name in value if name in PICTURE_NAMES and value[name] is not None]
        has_picture = self._text is not None and self._picture.size > 0
        if not has_picture and not value.get("url"):
            raise no_picture("this JSON", HINT)
        if len(named) > 1:
            raise one_picture_only()
        filename = value.pop("filename", "")
        fields = {name: item for name, item in value.items() if name not in PICTURE_NAMES}
        name = filename if isinstance(filename, str) else ""
        return Received(self._picture.whole(), _flattened(fields), name)

    def _begun(self, piece: bytes) -> bytes:
        """The first bytes. Raises BadInput for a picture itself, which is no JSON."""
        if b"\xef\xbb\xbf".startswith(piece):  # UTF-8's mark, which some clients write, or a part
            self._carried = piece
            return b""
        self._has_begun = True
        if guard.is_picture(piece):
            raise BadInput(
                "the body is a picture, and no JSON as its Content-Type says",
                code="bad_request",
                hint="Send a picture itself with a type such as `Content-Type: image/jpeg`.",
            )
        return piece.removeprefix(b"\xef\xbb\xbf")

    def _outside(self, piece: bytes, start: int) -> int:
        """Between strings: on to the next token."""
        token = _TOKEN.search(piece, start)
        self._keep(piece, start, token.end() if token else len(piece))
        if token is None:
            return len(piece)
        self._follow(token[0])
        return token.end()

    def _follow(self, token: bytes) -> None:
        if token == b'"':
            self._begin_string()
        elif token in b"{[":
            if self._is_picture() and token == b"[":
                raise one_picture_only("this one has a list")
            self._depth += 1
            self._expects_value = False
        elif token in b"}]":
            self._depth -= 1
        else:
            self._expects_value = token == b":"

    def _begin_string(self) -> None:
        if self._is_picture():
            if self._text is not None:
                raise one_picture_only()
            self._text, self._state = Base64Decoder(self._picture.write), self._in_picture
            return
        self._name_start = len(self._rest) if self._depth == 1 and not self._expects_value else -1
        self._state = self._in_string

    def _is_picture(self) -> bool:
        """Whether the value that begins now is that of a picture's name."""
        return self._depth == 1 and self._expects_value and self._name in PICTURE_NAMES

    def _in_string(self, piece: bytes, start: int) -> int:
        stop = _STOP.search(piece, start)
        self._keep(piece, start, stop.end() if stop else len(piece))
        if stop is None:
            return len(piece)
        if stop[0] == b"\\":
            self._state = self._in_escape
            return stop.end()
        if self._name_start >= 0:
            self._name = self._rest[self._name_start : -1].decode("utf-8", "replace")
        self._state = self._outside
        return stop.end()

    def _in_escape(self, piece: bytes, start: int) -> int:
        """The character after a backslash, which ends no string."""
        self._keep(piece, start, start + 1)
        self._state = self._in_string
        return start + 1

    def _in_picture(self, piece: bytes, start: int) -> int:
        """The text of the picture, up to the quotation mark that ends it."""
        assert self._text is not None
        end = piece.find(b'"', start)
        text = piece[start:] if end < 0 else piece[start:end]
        if end < 0 and (half := text.rfind(b"\\", -_LONGEST_ESCAPE)) >= 0:
            text, self._carried = text[:half], text[half:]
        self._text.write(_unescaped(text))
        if end < 0:
            return len(piece)
        self._text.end()
        self._rest += b'"'
        self._state = self._outside
        return end + 1

    def _keep(self, piece: bytes, start: int, end: int) -> None:
        if len(self._rest) + end - start > MAX_PARAMETERS_BYTES:
            raise too_many_parameters()
        self._rest += piece[start:end]


def _unescaped(text: bytes) -> bytes:
    """The text of a JSON string that holds base64. Raises BadInput for any other escape."""
    if b"\\" not in text:
        return text
    for escape, character in _ESCAPES:
        text = text.replace(escape, character)
    if b"\\" in text:
        raise not_base64("it has the character '\\\\'")
    return text


def _flattened(fields: dict[str, Any]) -> dict[str, Any]:
    """The object `params`, if there is one, opened up among the other fields."""
    params = fields.pop("params", None)
    if params is None:
        return fields
    if not isinstance(params, dict):
        raise BadInput("`params` must be a JSON object", code="bad_params", hint=HINT)
    return {**fields, **params}
