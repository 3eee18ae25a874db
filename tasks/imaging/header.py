"""What the guard knows of a file: its header, the limits for it, and the error if it is refused."""

from dataclasses import dataclass
from typing import Literal

from tasks.errors import BadInput

MIB = 2**20

Format = Literal["jpeg", "png", "webp", "avif", "heif", "tiff", "bmp", "gif", "jxl"]

QUICK_PARTS = 24
"""Segments, chunks, boxes or tags that are read where an event loop waits for it."""


@dataclass(frozen=True)
class Limits:
    """An upload beyond these is refused before a pixel is decoded."""

    max_bytes: int = 25 * MIB
    max_pixels: int = 64_000_000
    min_side: int = 16
    max_side: int = 16_384
    max_aspect: int = 40
    """Longer side divided by shorter side."""
    max_scans: int = 100
    """Passes over a JPEG, each of which costs as much as a picture."""
    max_segments: int = 16_384
    """Chunks, segments, boxes or tags of one file."""
    max_held_bytes: int = 366_000_000
    """What a decoder may hold of one picture. It means fewer pixels for the few kinds of files of
    which decoders hold many bytes for each pixel."""


@dataclass(frozen=True)
class Header:
    """What the file says about itself. A decoder never makes more pixels than this."""

    format: Format
    width: int
    """As stored, before it is made upright."""
    height: int
    bits: int = 8
    """Per channel; with a palette, of the index."""
    channels: int = 3
    """Alpha included."""
    animated: bool = False
    """Whether it has more pictures than the one that is used: frames, or pages."""
    progressive: bool = False
    scans: int = 1
    """Passes over a JPEG; of a large one only those near its start, until `is_complete`."""
    held_bits: int = 32
    """What a decoder holds of the whole picture, in bits per pixel."""
    is_complete: bool = True
    """False if not all parts of the file have been looked at; then all of this may be wrong, and
    the size 0."""

    @property
    def media_type(self) -> str:
        """The Content-Type of the file."""
        return "image/heic" if self.format == "heif" else f"image/{self.format}"

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


def broken(reason: str) -> BadInput:
    """The error for a file that no decoder can read."""
    return BadInput(
        f"This picture is damaged: {reason}.",
        code="bad_image",
        hint="Open it in a picture viewer, save it again as JPEG or PNG, and send that.",
    )


def unsupported(what: str, code: str = "unsupported_picture") -> BadInput:
    """The error for a picture that other programs may read: `what` is a kind of picture."""
    return BadInput(
        f"{what} is not supported here, though other programs may read it.",
        code=code,
        hint="Save the picture as an ordinary JPEG or PNG and send that.",
    )


def above(what: str, limit: str, code: str) -> BadInput:
    """The error for a picture beyond a limit: `what` it has, and the `limit` in words."""
    return BadInput(
        f"{what}: the limit is {limit}.",
        code=code,
        hint="Open it in a picture editor, save it again as JPEG or PNG, and send that.",
    )


def too_many_parts(what: str, limits: Limits) -> BadInput:
    """The error for a file of more parts than anybody reads."""
    return above(f"The file has too many {what}", f"{limits.max_segments:,}", "too_many_segments")
