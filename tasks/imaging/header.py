"""What the guard knows of a file: its header, the limits for it, and the error if it is refused."""

from dataclasses import dataclass
from typing import Literal

from tasks.errors import BadInput

MIB = 2**20

Format = Literal["jpeg", "png", "webp", "avif"]


@dataclass(frozen=True)
class Limits:
    """An upload beyond these is refused before a pixel is decoded."""

    max_bytes: int = 25 * MIB
    max_pixels: int = 50_000_000
    min_side: int = 16
    max_side: int = 16_384
    max_aspect: int = 40
    """Longer side divided by shorter side."""
    max_scans: int = 100
    """Passes over a JPEG, each of which costs as much as a picture."""
    max_segments: int = 4096
    """Chunks or segments of one file."""
    max_metadata_bytes: int = 4 * MIB


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
    progressive: bool = False
    scans: int = 1
    """Of a large JPEG only those near its start."""
    uncounted_from: int | None = None
    """Where a JPEG's scans begin, if not all of them have been counted."""
    metadata_bytes: int = 0

    @property
    def media_type(self) -> str:
        """The Content-Type of the file."""
        return f"image/{self.format}"

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


def broken(reason: str, *, code: str = "bad_image") -> BadInput:
    """The error for a file that no decoder should get."""
    return BadInput(
        f"This is not a picture we can read: {reason}.",
        code=code,
        hint="Open it in a picture viewer, save it again as JPEG or PNG, and send that.",
    )
