"""Which part of an upload the pictures of a result show."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """The part of the upload that is shown: left, top, right, bottom in pixels of the pictures."""

    left: int
    top: int
    right: int
    bottom: int
    height: int
    """Of the whole upload at the pictures' scale."""
    width: int
