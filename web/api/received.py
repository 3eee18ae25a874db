"""What a request for work has brought: one picture, and the parameters that came with it."""

from collections.abc import Mapping
from io import BytesIO
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


class Received(NamedTuple):
    """A whole body."""

    picture: bytes
    """Empty if a field `url` says where it is."""
    fields: Mapping[str, Any] = MappingProxyType({})
    """Parameters and options, as text (a form) or as JSON values."""
    filename: str = ""
    """What the client calls the file; empty if it does not say."""


class Reader(Protocol):
    """Takes a body in pieces. Nothing that it does takes longer than 5 ms a piece."""

    max_bytes: int
    """Of the whole body."""

    def write(self, piece: bytes, /) -> int:
        """Take the next piece; how many bytes of memory it uses. Raises BadInput."""

    def end(self) -> Received:
        """The body is complete. Raises BadInput if it is not what its type says."""


class PictureBuffer:
    """The bytes of one picture, as they come: one copy, in a block of memory of its own.

    A block so large is moved without a copy when it grows, and goes back to the system as soon as
    nobody refers to it (see `web/__main__.py`). Many pieces would leave holes that do not.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.size = max_bytes, 0
        self._bytes = BytesIO()

    def write(self, data: bytes) -> int:
        """Append; how many bytes of memory that uses. Raises BadInput (413) above the limit."""
        self.size += len(data)
        if self.size > self.max_bytes:
            raise too_large(self.max_bytes)
        return self._bytes.write(data)

    def whole(self) -> bytes:
        """All of it, without a copy; once, as the buffer is given up."""
        whole = self._bytes.getvalue()
        self._bytes.close()
        return whole


class RawReader(PictureBuffer):
    """The body is the picture."""

    def end(self) -> Received:
        """The picture."""
        return Received(self.whole())


def too_large(max_bytes: int) -> BadInput:
    """The error for a picture above the limit."""
    return BadInput(
        f"the file is larger than {max_bytes / MIB:g} MiB",
        code="too_large",
        status=413,
        hint="Save the picture smaller, or as JPEG, and send it again.",
    )


def too_many_parameters() -> BadInput:
    """The error for a body that is more than a picture and its parameters."""
    return BadInput(
        f"beside its picture, the body has more than {MAX_PARAMETERS_BYTES // 1024} KiB or "
        f"{MAX_PARAMETERS} fields",
        code="bad_request",
        hint="Name the picture `image` in JSON, and give a file of a form a file name.",
    )


def one_picture_only(what: str = "this one has several") -> BadInput:
    """The error for a body with several pictures."""
    return BadInput(
        f"one request takes one photo, and {what}",
        code="several_pictures",
        hint="Send each in a request of its own, at the same time if you like; or POST each to "
        "/api/v1/uploads and name up to 16 of them in `uploads` of POST /api/v1/jobs.",
    )


def no_picture(what: str, hint: str) -> BadInput:
    """The error for a form or for JSON without a picture."""
    return BadInput(f"{what} has no picture", code="no_picture", hint=hint)
