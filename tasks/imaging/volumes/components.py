"""Connected components of a volume: OpenCV finds those of each slice, and they are joined."""

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
"""Z x H x W."""
Labels = NDArray[np.int32]
"""Z x H x W, 0 where the mask is not."""


def label(mask: Mask) -> tuple[Labels, int]:
    """The components of `mask`, 1 .. n, and n. Neighbours share a face, or in a slice a corner."""
    labels = np.zeros(mask.shape, np.int32)
    last = 0
    pairs = []
    for z, slice_ in enumerate(mask):
        count, found = cv2.connectedComponents(slice_.astype(np.uint8), connectivity=8)
        labels[z] = np.where(found, found + last, 0)
        last += count - 1
        if z:
            both = (labels[z] > 0) & (labels[z - 1] > 0)
            touching = np.stack((labels[z - 1][both], labels[z][both]), axis=1)
            pairs.append(np.unique(touching, axis=0))
    roots = _joined(last, np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int32))
    names, numbers = np.unique(roots[1:], return_inverse=True)
    table = np.zeros(last + 1, np.int32)
    table[1:] = numbers + 1
    return table[labels], len(names)


def _joined(last: int, pairs: NDArray[np.int32]) -> NDArray[np.int32]:
    """Label -> the label that stands for all that it touches."""
    roots = list(range(last + 1))

    def root(label: int) -> int:
        while roots[label] != label:
            roots[label] = roots[roots[label]]
            label = roots[label]
        return label

    for one, other in pairs.tolist():
        roots[root(other)] = root(one)
    return np.array([root(each) for each in range(last + 1)], np.int32)


def filled(mask: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """H x W, 0 or 1, with its holes of up to `most` pixels filled."""
    count, holes, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    sides = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    ends = stats[:, cv2.CC_STAT_WIDTH] + sides[0], stats[:, cv2.CC_STAT_HEIGHT] + sides[1]
    height, width = mask.shape
    is_inside = (sides[0] > 0) & (sides[1] > 0) & (ends[0] < width) & (ends[1] < height)
    is_hole = is_inside & (stats[:, cv2.CC_STAT_AREA] <= most)
    is_hole[0] = False  # the mask itself
    found: NDArray[np.uint8] = mask | is_hole[holes].astype(np.uint8)
    return found
