"""What a request for work has brought: one picture, and the parameters that came with it."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from tasks.errors import BadInput
from tasks.settings import MIB

PICTURE_NAMES = frozenset({
    "image", "image_file", "file", "photo", "picture",
    "image_base64", "image_b64", "image_file_b64",
})  # fmt: skip
"""Names of a picture in JSON, and of one that a form holds as text. A file may have any name."""
MAX_PARAMETERS_BYTES = 64 * 1024
"""For all that a body holds beside its picture: names, values, headers of parts, white space."""
MAX_PARAMETERS = 100
_SMALL = 16_384
"""Bytes below which a piece is joined with the next ones at once."""
_LONG = 2**20
"""Bytes from which joining takes longer than handing it to a thread."""


class Received(NamedTuple):
    """A whole body."""

    picture: bytes
    """Empty if a field `url` says where it is."""
    fields: Mapping[str, Any] = MappingProxyType({})
    """Parameters and options, as text (a form) or as JSON values."""
    filename: str = ""
    """What the client calls the file; empty if it does not say."""


class Reader(Protocol):
    """Takes a body in pieces. Nothing that it does takes longer than a millisecond a piece."""

    max_bytes: int
    """Of the whole body."""

    def write(self, piece: bytes, /) -> int:
        """Take the next piece; how many bytes of memory it uses. Raises BadInput."""

    async def end(self) -> Received:
        """The body is complete. Raises BadInput if it is not what its type says."""


class PictureBuffer:
    """The bytes of one picture, in the pieces in which they came.

    Pieces are joined once: a buffer that grows would be copied again and again.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.size = max_bytes, 0
        self._pieces: list[bytes] = []
        self._small = bytearray()

    def write(self, data: bytes) -> int:
        """Append; how many bytes of memory that uses. Raises BadInput (413) above the limit."""
        self.size += len(data)
        if self.size > self.max_bytes:
            raise too_large(self.max_bytes)
        if not self._small and (len(data) >= _SMALL or not self._pieces):
            self._pieces.append(data)
            return len(data)
        self._small += data  # millions of tiny pieces would use more memory than they hold
        if len(self._small) >= _SMALL:
            self._flush()
        return len(data)

    async def whole(self) -> bytes:
        """All of it; once, as the pieces are given up."""
        self._flush()
        pieces, self._pieces = self._pieces, []
        if self.size < _LONG:
            return b"".join(pieces)
        whole = await asyncio.to_thread(b"".join, pieces)  # which does not hold the GIL
        pieces.clear()  # the thread still refers to them
        return whole

    def _flush(self) -> None:
        if self._small:
            self._pieces.append(bytes(self._small))
            self._small.clear()


class RawReader(PictureBuffer):
    """The body is the picture."""

    async def end(self) -> Received:
        """The picture."""
        return Received(await self.whole())


def too_large(max_bytes: int) -> BadInput:
    """The error for a picture above the limit."""
    return BadInput(
        f"the file is larger than {max_bytes / MIB:g} MiB",
        code="too_large",
        status=413,
        hint="Send a smaller one: models use at most 2048 pixels on the longest side.",
    )


def too_many_parameters() -> BadInput:
    """The error for a body that is more than a picture and its parameters."""
    return BadInput(
        f"beside its picture, the body has more than {MAX_PARAMETERS_BYTES // 1024} KiB or "
        f"{MAX_PARAMETERS} fields",
        code="bad_request",
        hint="Name the picture `image` in JSON, and give a file of a form a file name.",
    )


def one_picture_only() -> BadInput:
    """The error for a body with several pictures."""
    return BadInput(
        "one request takes one photo, and this one has several",
        code="several_pictures",
        hint="Send each in a request of its own, at the same time if you like; or POST each to "
        "/api/v1/uploads and name up to 16 of them in `uploads` of POST /api/v1/jobs.",
    )


def no_picture(what: str, hint: str) -> BadInput:
    """The error for a form or for JSON without a picture."""
    return BadInput(f"{what} has no picture", code="no_picture", hint=hint)
