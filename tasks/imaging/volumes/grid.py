"""How the grid of a file lies in the body, and how slices in the one orientation are views of it.

A file's array is A[k, j, i]: slice, row, column. Positions are in LPS, the patient's coordinates of
DICOM in mm: x to the left, y to the back, z to the head.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.imaging.volumes.sentences import Refused

Affine = NDArray[np.float64]
"""4 x 4: (i, j, k, 1) of a voxel -> its centre in mm, LPS."""

MOST_OBLIQUE = 35.0
"""Degrees between a file's axis and the body's; beyond, slices show neither this nor that."""
NOTED_OBLIQUE = 3.0
USUAL: Affine = np.diag([1.0, 1.0, 1.0, 1.0])
"""Slices from the feet to the head, rows from the front to the back, columns to the left."""


@dataclass(frozen=True)
class Grid:
    """The file's grid. `order` and `flips` turn its array into slices as Volume has them."""

    shape: tuple[int, int, int]
    """Of the file's array: k, j, i."""
    affine: Affine
    order: tuple[int, int, int]
    """Axes of the file's array that become Z, H and W."""
    flips: tuple[bool, bool, bool]
    """Of Z, H and W after that."""
    is_placed: bool = True
    """Whether the file says how it lies in the body."""
    header: Mapping[str, str] = field(default_factory=dict)
    """What a mask's file repeats as it is, as hexadecimal digits: `nifti`."""

    def turned(self, array: NDArray[Any]) -> NDArray[Any]:
        """A view of the file's array as slices."""
        return np.flip(array.transpose(self.order), self._flipped)

    def back(self, slices: NDArray[Any]) -> NDArray[Any]:
        """A view of slices as the file's array."""
        array: NDArray[Any] = np.flip(slices, self._flipped).transpose(np.argsort(self.order))
        return array

    @property
    def _flipped(self) -> tuple[int, ...]:
        return tuple(n for n in range(3) if self.flips[n])

    @property
    def slices_shape(self) -> tuple[int, int, int]:
        """Z, H, W."""
        z, y, x = (self.shape[axis] for axis in self.order)
        return z, y, x

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Along Z, H and W; along Z the distance of the slices' planes, which with a tilted gantry
        is less than that of their centres."""
        sides = np.linalg.norm(self.affine[:3, :3], axis=0)[::-1]
        z, y, x = (float(sides[axis]) for axis in self.order)
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / (y * x), y, x

    @property
    def orientation(self) -> str:
        """Where columns, rows and slices of the file lead to: `LPS`, `RAS` ..."""
        letters = {"L": "R", "P": "A", "S": "I"}
        names = [""] * 3
        for letter, axis, is_flipped in zip("SPL", self.order, self.flips, strict=True):
            names[2 - axis] = letters[letter] if is_flipped else letter
        return "".join(names)

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "shape": list(self.shape),
            "affine": self.affine.tolist(),
            "order": list(self.order),
            "flips": [bool(flip) for flip in self.flips],
            "is_placed": self.is_placed,
            "orientation": self.orientation,
            "header": dict(self.header),
        }


def placed(
    shape: Sequence[int],
    affine: Affine,
    *,
    is_placed: bool = True,
    header: Mapping[str, str] | None = None,
) -> tuple[Grid, float]:
    """The grid, and by how many degrees it is off the body's axes.

    Raises Refused if that is too much, or if the affine is none.
    """
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or min(sides) <= 1e-6 or max(sides) > 1e4:
        raise Refused("bad_header")
    # cosines[n, axis]: of LPS's axis S, P, L with the array's axis k, j, i.
    cosines = (affine[:3, :3] / sides)[::-1, ::-1]
    order = max(
        itertools.permutations(range(3)),
        key=lambda axes: float(np.prod([abs(cosines[n, axes[n]]) for n in range(3)])),
    )
    matched = [float(cosines[n, order[n]]) for n in range(3)]
    degrees = math.degrees(math.acos(min(1.0, min(abs(value) for value in matched))))
    volume = abs(float(np.linalg.det(affine[:3, :3] / sides)))
    if degrees > MOST_OBLIQUE or volume < 0.1:
        raise Refused("too_oblique", degrees=round(degrees))
    k, j, i = (int(side) for side in shape)
    up, back, left = (value < 0 for value in matched)
    z, y, x = order
    return Grid((k, j, i), affine, (z, y, x), (up, back, left), is_placed, header or {}), degrees


def read(fields: Mapping[str, Any]) -> Grid:
    """What `as_json` has written. Raises ValueError, TypeError or KeyError for anything else."""
    k, j, i = (int(side) for side in fields["shape"])
    z, y, x = (int(axis) for axis in fields["order"])
    up, back, left = (bool(flip) for flip in fields["flips"])
    affine = np.array(fields["affine"], np.float64).reshape(4, 4)
    if sorted((z, y, x)) != [0, 1, 2] or min(k, j, i) < 1 or not np.isfinite(affine).all():
        raise ValueError("no grid")
    header = {name: bytes.fromhex(text).hex() for name, text in fields["header"].items()}
    return Grid((k, j, i), affine, (z, y, x), (up, back, left), bool(fields["is_placed"]), header)
