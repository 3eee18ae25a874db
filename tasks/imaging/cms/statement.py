"""What the readers of the formats return: the statements of a file about its colours."""

from dataclasses import dataclass

from tasks.imaging.cms.lcms import Space
from tasks.imaging.cms.spaces import Named

Statement = bytes | Named | None
"""An ICC profile (b"": it cannot be read), a space by numbers, or numbers that make no space."""


@dataclass(frozen=True)
class Stated:
    """What a file says about its colours."""

    space: Space | None = "RGB"
    """Of the values; None: the profile says it."""
    statements: tuple[Statement, ...] = ()
    """The one that counts most first."""
    exif: bytes = b""
    """A TIFF structure that may state Adobe RGB; empty if it is only known to Pillow."""
    gain_map: bool = False
    """Whether the picture is the base of an HDR picture."""
