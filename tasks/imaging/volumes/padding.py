"""What a file has outside of the field that was scanned: one value, which is not always air's.

Volumes that programs have turned or cut to a circle are often filled up with 0, which looks like
water: a body that reaches every edge. In the sandbox only.
"""

import cv2
import numpy as np

from tasks.imaging.volumes.body import AIR, Slices

LOWEST = -900
"""HU: what is filled up with less is air already."""
LEAST = 0.02
"""Share of a slice that the one value has at least around its corners."""


def to_air(slices: Slices) -> bool:
    """Make air of the padding of each slice; False if there is none.

    It is padding where the same value, and no noise, reaches from the corners of every slice.
    """
    corners = slices[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    value = int(corners[0, 0])
    if value < LOWEST or (corners != value).any():
        return False
    outside = [_around(slice_, value) for slice_ in slices]
    if min(float(each.mean()) for each in outside) < LEAST:
        return False
    for slice_, each in zip(slices, outside, strict=True):
        slice_[each] = AIR
    return True


def _around(slice_: Slices, value: int) -> np.ndarray:
    """Where `value` reaches to, from the corners of a slice."""
    same = (slice_ == value).astype(np.uint8)
    _, parts = cv2.connectedComponents(same, connectivity=4)
    names = np.unique(parts[[0, 0, -1, -1], [0, -1, 0, -1]])
    return np.isin(parts, names[names > 0])
