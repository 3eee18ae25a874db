"""The steps from a network's map to a matte of the map's size. No torch."""

from typing import NamedTuple

from tasks.imaging.types import Image, Tensor
from tasks.models.nets import gaps, plain, saliency


class Cleaned(NamedTuple):
    """What became of a map."""

    matte: Tensor
    """H x W of 0..1."""
    may_have_holes: bool = True
    """Whether holes may be looked for: parts that were completed by their colours already have
    theirs, and the rest may have the ground's colour."""


def cleaned(chances: Tensor, image: Image) -> Cleaned:
    """Doubt is settled, gaps are closed, and missing parts before a plain ground are added."""
    matte = gaps.closed(saliency.clean(chances, image), image)
    whole = plain.completed(matte, chances, image)
    return Cleaned(whole, may_have_holes=whole is matte)
