"""What a reader has found in a file before it reads voxels, and what they are checked by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tasks.imaging.header import MIB
from tasks.imaging.volumes.grid import NOTED_OBLIQUE, Affine, Grid, placed
from tasks.imaging.volumes.limits import Limits
from tasks.imaging.volumes.sentences import Refused
from tasks.imaging.volumes.source import Source

Note = tuple[str, dict[str, float | str | list[int]]]
"""A code of sentences.NOTES and its numbers."""

MIN_SIDE = 32


@dataclass(frozen=True)
class Found:
    """A volume whose voxels are still to be read."""

    grid: Grid
    fill: Callable[[NDArray[np.int16]], Sequence[Note]]
    """Writes the file's array, k x j x i in Hounsfield units."""
    has_spacing: bool = True
    is_hu: bool = True
    notes: Sequence[Note] = field(default_factory=tuple)
    source: Callable[[], Source | None] = lambda: None
    """Which files its slices came from, if they can be told."""


def checked(
    shape: tuple[int, int, int], affine: Affine, limits: Limits, **known: object
) -> tuple[Grid, list[Note]]:
    """The grid of an array of this shape, and what to say of how it lies.

    Raises Refused for one that is too large, too small or lies askew.
    """
    grid, degrees = placed(shape, affine, **known)  # type: ignore[arg-type]  # is_placed, header
    slices, height, width = grid.slices_shape
    if slices > limits.max_slices:
        raise Refused("too_many_slices", count=slices, most=limits.max_slices)
    size = 2 * slices * height * width
    if size > limits.max_raw_bytes:
        raise Refused("too_many_voxels", size=size / MIB, most=limits.max_raw_bytes / MIB)
    if min(height, width) < MIN_SIDE:
        raise Refused("small_slices", width=width, height=height)
    notes: list[Note] = []
    if grid.order[0] != 0:
        notes.append(("reordered", {}))
    if degrees > NOTED_OBLIQUE:
        notes.append(("oblique", {"degrees": round(degrees)}))
    return grid, notes
