"""Decodes base64 text, or a data URL with it, as it arrives."""

import binascii
from collections.abc import Callable

from tasks.errors import BadInput

MAX_START = 256
"""Most characters of a data URL in front of its data."""
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_WHITE = b" \t\r\n"
_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_= \t\r\n")


class Base64Decoder:
    """Passes on the bytes of a text that comes in pieces; no more than one piece is held.

    It takes what encoders write: padding or none, line breaks, the URL-safe alphabet, and a data
    URL (`data:image/png;base64,...`), whose media type is not believed.
    """

    def __init__(self, keep: Callable[[bytes], object]) -> None:
        self._keep = keep
        self._start: bytes | None = b""
        """The first characters, until it is known whether a data URL begins."""
        self._rest = b""
        self._is_padded = False

    def write(self, text: bytes) -> None:
        """A piece of the text. Raises BadInput if it is not base64."""
        if self._start is not None:
            text = self._without_head(text)
        text = self._rest + text.translate(_URL_SAFE, _WHITE)
        aligned = len(text) // 4 * 4
        self._rest = text[aligned:]
        self._decode(text[:aligned])

    def end(self) -> None:
        """The text is complete. Raises BadInput if it is cut short."""
        if self._start:  # shorter than the word `data:`
            start, self._start = self._start, None
            self.write(start)
        if len(self._rest) == 1:
            raise not_base64("it is cut short")
        if self._rest:
            self._decode(self._rest + b"=" * (4 - len(self._rest)))
        self._rest = b""

    def _without_head(self, text: bytes) -> bytes:
        """What follows the head of a data URL; nothing while that is not complete."""
        self._start = start = ((self._start or b"") + text).lstrip(_WHITE)
        if len(start) < 5:
            return b""
        if start[:5].lower() in (b"http:", b"https"):
            raise BadInput(
                "the picture is an address, where its bytes were expected",
                code="bad_base64",
                hint="Name the address in `url`, for servers that allow that.",
            )
        if start[:5].lower() != b"data:":
            self._start = None
            return start
        head, comma, data = start.partition(b",")
        if len(head) > MAX_START or (comma and not head.rstrip().lower().endswith(b";base64")):
            raise not_base64("its data URL does not say `;base64,`")
        if not comma:
            return b""
        self._start = None
        return data

    def _decode(self, text: bytes) -> None:
        if not text:
            return
        if self._is_padded:
            raise not_base64("something follows its end")
        try:
            data = binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error as error:
            raise not_base64(_reason(text)) from error
        self._is_padded = text.endswith(b"=")
        self._keep(data)


def is_base64(text: bytes) -> bool:
    """Whether the text, or its beginning, could be base64 or a data URL."""
    return text[:5].lower() == b"data:" or _ALPHABET.issuperset(text)


def not_base64(why: str) -> BadInput:
    """The error for text that cannot be decoded."""
    return BadInput(
        f"the picture is not base64: {why}",
        code="bad_base64",
        hint="Send the file's bytes as base64, with or without `data:image/jpeg;base64,` before "
        "it; or send the bytes themselves as the body.",
    )


def _reason(text: bytes) -> str:
    wrong = text.translate(None, bytes(_ALPHABET))
    if wrong:
        return f"it has the character {wrong[:1].decode('latin-1')!r}"
    return "its padding (`=`) is in the wrong place"
