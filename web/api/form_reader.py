"""A form with a photo in it (`multipart/form-data`), taken apart while it arrives.

Starlette's own parser writes files to disk and reads them back; this one leaves one copy in memory.
"""

import logging
import re
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header

from tasks.errors import BadInput
from web.api.base64_text import Base64Decoder, is_base64
from web.api.received import (
    MAX_PARAMETERS,
    MAX_PARAMETERS_BYTES,
    PICTURE_NAMES,
    PictureBuffer,
    Received,
    no_picture,
    one_picture_only,
    too_many_parameters,
)
from web.middleware.validation import MAX_TEXT, check_json, is_text
from web.text import shown

HINT = "Send the file as one part of the form, as `curl -F image=@photo.jpg` does."
PARAMS_HINT = 'Write e.g. params={"margin": 0.1}, or send each parameter as a field of its own.'
_EXTENDED_NAME = re.compile(r"filename\*\s*=\s*utf-8'[^']*'([^;\s]+)", re.IGNORECASE)
_NAME_OF_FILE = re.compile(rb"[^\r\n]{1,60}\.[A-Za-z0-9]{2,5}")
_ENCODINGS = frozenset({"", "binary", "8bit", "7bit"})
_PEEK = 64
"""Bytes of a text by which a picture's own bytes are told from base64."""

# It would write a line into the log for every form that is broken.
logging.getLogger("python_multipart.multipart").setLevel(logging.ERROR)


class FormReader:
    """Keeps the bytes of the one file, and the texts of the other fields."""

    def __init__(self, content_type: bytes, max_bytes: int) -> None:
        """Raises BadInput if the type does not name a boundary that is one."""
        self.max_bytes = max_bytes * 3 // 2 + MAX_PARAMETERS_BYTES
        self._picture = PictureBuffer(max_bytes)
        self._fields: dict[str, str] = {}
        self._filename, self._has_picture = "", False
        self._parts = self._delimiters = self._overhead = 0
        self._header: tuple[str, str] = ("", "")
        self._headers: dict[str, str] = {}
        self._part = _Part()
        self._parser = MultipartParser(
            _boundary(content_type),
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_name,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_part_end": self._finish,
            },
        )

    def write(self, piece: bytes) -> int:
        """Take the next piece; how many bytes of memory it uses. Raises BadInput."""
        # The parser is slow at delimiters, so text that is full of them is not for it.
        self._delimiters += piece.count(self._parser.boundary)
        if self._delimiters > MAX_PARAMETERS:
            raise too_many_parameters()
        before = self._picture.size + self._overhead
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _broken(self._what_is_wrong()) from error
        return self._picture.size + self._overhead - before

    def end(self) -> Received:
        """The photo and the fields beside it."""
        if self._parser.state != MultipartState.END:
            raise _broken("its end is missing")
        if not self._picture.size and not self._fields.get("url"):
            raise no_picture("this form", HINT)
        return Received(self._picture.whole(), _opened(self._fields), self._filename)

    def _what_is_wrong(self) -> str:
        if self._parts:
            return "it does not follow the rules of multipart/form-data"
        return "it does not begin with the boundary that its Content-Type names"

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARAMETERS:
            raise too_many_parameters()
        self._header, self._headers = ("", ""), {}

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        name, value = self._header
        self._header = (name + self._text(data[start:end]), value)

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        name, value = self._header
        self._header = (name, value + self._text(data[start:end]))

    def _on_header(self) -> None:
        name, value = self._header
        self._headers[name.lower()] = value
        self._header = ("", "")

    def _on_headers(self) -> None:
        self._part = part = _Part(self._headers)
        if part.encoding == "base64":
            part.decoder = Base64Decoder(self._picture.write)
        elif part.encoding not in _ENCODINGS:
            raise _broken(f"the Content-Transfer-Encoding {shown(part.encoding)} is not supported")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        part, piece = self._part, data[start:end]
        if part.is_picture is None:  # a text that may be one: `image=<base64>`
            part.peeked += piece
            if len(part.peeked) < _PEEK:
                return
            piece = self._decide(part)
        if part.is_picture:
            self._take(part, piece)
        else:
            self._overhead += len(piece)
            self._check_overhead()
            part.text += piece

    def _finish(self) -> None:
        part = self._part
        if part.is_picture is None:
            _check_is_no_name(part)
            self._take(part, self._decide(part))
        if not part.is_picture:
            self._fields[part.name] = _field(part)
        elif part.decoder:
            part.decoder.end()

    def _decide(self, part: "_Part") -> bytes:
        """Whether a text field holds base64 or a picture as it is; what has come of it so far."""
        part.is_picture = True
        piece, part.peeked = part.peeked, b""
        if is_base64(piece[:_PEEK]):
            part.decoder = Base64Decoder(self._picture.write)
        return piece

    def _take(self, part: "_Part", piece: bytes) -> None:
        """Bytes of a picture. An empty file is none: browsers send one for a field left empty."""
        if not piece:
            return
        if not part.has_begun:
            if self._has_picture:
                raise one_picture_only()
            part.has_begun = self._has_picture = True
            self._filename = part.filename
        (part.decoder or self._picture).write(piece)

    def _text(self, data: bytes) -> str:
        self._overhead += len(data)
        self._check_overhead()
        return data.decode("latin-1")

    def _check_overhead(self) -> None:
        if self._overhead > MAX_PARAMETERS_BYTES:
            raise too_many_parameters()


class _Part:
    """One field of the form, while it arrives."""

    def __init__(self, headers: dict[str, str] | None = None) -> None:
        headers = headers or {}
        disposition = headers.get("content-disposition", "")
        options = parse_options_header(disposition)[1]
        self.name = _utf8(options.get(b"name", b""))
        self.filename = _filename(disposition, options)
        self.encoding = headers.get("content-transfer-encoding", "").strip().lower()
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        is_file = b"filename" in options or bool(self.filename)
        is_file = is_file or kind.startswith("image/") or kind == "application/octet-stream"
        self.is_picture: bool | None = True
        """None: a text field that has the name of a picture; its first bytes decide."""
        if not is_file:
            self.is_picture = None if self.name in PICTURE_NAMES else False
        self.decoder: Base64Decoder | None = None
        self.has_begun = False
        self.peeked, self.text = b"", bytearray()


def _boundary(content_type: bytes) -> bytes:
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if 0 < len(boundary) <= 70:
        return boundary
    raise BadInput(
        "the Content-Type of this form does not name its boundary",
        code="bad_form",
        hint="Do not set the header Content-Type yourself: whatever writes the form sets it.",
    )


def _filename(disposition: str, options: dict[bytes, bytes]) -> str:
    """The file's name; `filename*` is the form that old clients use for names beyond ASCII."""
    if match := _EXTENDED_NAME.search(disposition):
        return unquote(match[1], errors="replace")
    return _utf8(options.get(b"filename", b""))


def _check_is_no_name(part: _Part) -> None:
    """Raises BadInput for `curl -F image=photo.jpg`, which sends the name and not the file."""
    if _NAME_OF_FILE.fullmatch(part.peeked):
        raise BadInput(
            f"the field {shown(part.name)} is the text {shown(_utf8(part.peeked))} and not a file",
            code="no_picture",
            hint=f"With curl, write @ before the file's name: -F {part.name}=@photo.jpg",
        )


def _utf8(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _field(part: _Part) -> str:
    try:
        text = part.text.decode("utf-8")
    except UnicodeDecodeError:
        raise _broken("a field is not UTF-8") from None
    if not part.name or not is_text(part.name, 64) or not is_text(text, MAX_TEXT):
        raise _broken(f"a field has no name, control characters or over {MAX_TEXT} characters")
    return text


def _opened(fields: dict[str, str]) -> dict[str, object]:
    """The JSON object in the field `params`, if there is one, opened up among the others."""
    params = fields.pop("params", "")
    if not params:
        return {**fields}
    try:
        value = check_json(params.encode())
    except BadInput as error:
        raise BadInput(f"`params`: {error}", code="bad_params", hint=PARAMS_HINT) from None
    if not isinstance(value, dict):
        raise BadInput("`params` must be a JSON object", code="bad_params", hint=PARAMS_HINT)
    return {**fields, **value}


def _broken(why: str) -> BadInput:
    return BadInput(f"the form cannot be read: {why}", code="bad_form", hint=HINT)
