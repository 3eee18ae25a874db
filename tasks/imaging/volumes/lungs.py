"""From a network's scores to the two lungs: clean, told apart, on the slices' own pixels."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging.volumes import components
from tasks.imaging.volumes.body import Slices, Square, body_square, crop

SIDE = 256
"""Of the square of a slice that the network sees."""
RIGHT, LEFT = 1, 2
"""Values of the mask: the patient's right lung, which is at the left of the picture, and the left
one."""
LEAST = 0.01
"""A component smaller than this share of the largest is no lung."""
LEAST_END = 6
"""Pixels, about 15 mm2, below which a slice at either end of the lungs has none: the recess behind
the diaphragm is thinner there than whoever draws contours can draw."""
GAS_HU = -930
"""Gas in the bowel, where no tissue is, is below this; a lung is above."""
GAS_SHARE = 0.5
MOST_GAS = 0.2
"""A component of a larger share of all is never taken for gas: a lung may be full of emphysema."""
MOST_HOLE = 64
"""Pixels of a hole that is filled, 12 mm across: a vessel or a nodule. The dome of the diaphragm,
which the lung surrounds too, is larger."""
BORDER_HU = -300
"""At the border of the network's lung, pixels above this are no lung."""
MIDDLE = 0.15
"""How far from the square's middle the lungs may part, as a share of its side."""
BOTH_SIDES = 0.2
"""A part of a slice that has this share on either side of the middle is two lungs that touch."""

_LINEAR = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_NEAREST = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP

Scores = NDArray[np.floating]
"""Z x SIDE x SIDE, 0..1."""
Sides = NDArray[np.uint8]
"""Z x SIDE x SIDE or Z x H x W: 0, RIGHT or LEFT."""


@dataclass(frozen=True)
class Lungs:
    """The lungs of a volume."""

    small: Sides
    """Z x SIDE x SIDE."""
    mask: Sides
    """Z x H x W, on the slices' own pixels."""
    square: Square


def crops(slices: Slices, square: Square) -> NDArray[np.float16]:
    """Z x SIDE x SIDE in HU: what of each slice the network sees."""
    small = np.empty((len(slices), SIDE, SIDE), np.float16)
    for z, each in enumerate(slices):
        small[z] = crop(each, square, SIDE)
    return small


def find(scores: Scores, slices: Slices) -> Lungs:
    """The lungs in slices of which a network has given the scores."""
    square = body_square(slices)
    clean = cleaned(scores > 0.5, crops(slices, square))
    small = told_apart(clean)
    return Lungs(small, _enlarged(small, scores, slices, square), square)


def cleaned(mask: components.Mask, small: NDArray[np.float16]) -> components.Mask:
    """The mask without specks and bowel gas, its small holes filled."""
    labels, count = components.label(mask)
    if not count:
        return mask
    sizes = np.bincount(labels.reshape(-1), minlength=count + 1).astype(float)
    gas = np.bincount(labels[small < GAS_HU], minlength=count + 1)
    sizes[0] = 0
    is_gas = (gas > GAS_SHARE * sizes) & (sizes < MOST_GAS * sizes.sum())
    kept = (sizes >= LEAST * sizes.max()) & ~is_gas
    kept[0] = False
    whole: components.Mask = kept[labels]
    for z in np.flatnonzero(whole.any(axis=(1, 2))):
        whole[z] = components.filled(whole[z].astype(np.uint8), MOST_HOLE) > 0
    return _without_thin_ends(whole)


def _without_thin_ends(mask: components.Mask) -> components.Mask:
    """The mask from the first to the last slice that has LEAST_END pixels of it."""
    seen = np.flatnonzero(mask.sum(axis=(1, 2)) >= LEAST_END)
    if len(seen):
        mask[: seen[0]] = mask[seen[-1] + 1 :] = False
    return mask


def told_apart(mask: components.Mask) -> Sides:
    """RIGHT and LEFT by geometry: slices show the patient's right at the left.

    The lungs part at the column, near the body's middle, where they have the fewest pixels. What
    is connected belongs to the side where most of it lies; where both lungs touch, as they may in
    front of the heart, a slice is cut at its thinnest column near the middle.
    """
    sides = np.zeros(mask.shape, np.uint8)
    middle = _thinnest(mask.sum(axis=(0, 1)), mask.shape[2] / 2)
    for z in np.flatnonzero(mask.any(axis=(1, 2))):
        count, parts = cv2.connectedComponents(mask[z].astype(np.uint8), connectivity=8)
        for part in range(1, count):
            sides[z] |= _side(parts == part, middle)
    labels, count = components.label(mask)
    right = np.bincount(labels[sides == RIGHT], minlength=count + 1)
    left = np.bincount(labels[sides == LEFT], minlength=count + 1)
    table = np.zeros(count + 1, np.uint8)
    table[right > 9 * left], table[left > 9 * right] = RIGHT, LEFT
    table[0] = 0
    return np.where(table[labels] > 0, table[labels], sides)


def _side(part: NDArray[np.bool_], middle: float) -> NDArray[np.uint8]:
    """H x W: a connected part of a slice as RIGHT, LEFT or, cut in two, both."""
    columns = part.sum(axis=0)
    here = np.arange(len(columns)) < middle
    share = float(columns[here].sum()) / float(columns.sum())
    if BOTH_SIDES < share < 1 - BOTH_SIDES:
        cut = _thinnest(columns, middle)
        names = np.where(np.arange(len(columns)) < cut, RIGHT, LEFT)
        return (part * names).astype(np.uint8)
    return (part * (RIGHT if share >= 0.5 else LEFT)).astype(np.uint8)


def _thinnest(columns: NDArray[np.int64], middle: float) -> float:
    """The column near `middle` where there is least."""
    side = len(columns)
    first, last = (int(middle + sign * MIDDLE * side) for sign in (-1, 1))
    first, last = max(0, first), min(side, last)
    smooth = cv2.blur(columns.astype(np.float32)[None], (5, 1))[0, first:last]
    # Of several that are as thin, the one nearest to the middle.
    away = np.abs(np.arange(first, last) - middle) / side
    return float(first + int((smooth + away * 1e-3).argmin()))


def _enlarged(small: Sides, scores: Scores, slices: Slices, square: Square) -> Sides:
    """The sides on the slices' own pixels.

    The border is where interpolated scores are 0.5, and within a pixel of the network's, as it sees
    no finer, where the slice itself has BORDER_HU.
    """
    depth, height, width = slices.shape
    mask = np.zeros((depth, height, width), np.uint8)
    back, size = square.to_crop(SIDE), (width, height)
    reach = 2 * max(1, round(square.side / SIDE)) + 1
    near, kernel = np.ones((reach, reach), np.uint8), np.ones((5, 5), np.uint8)
    for z in np.flatnonzero(small.any(axis=(1, 2))):
        lung = small[z] > 0
        score = scores[z].astype(np.float32)
        # Holes that were filled count as lung, and what was dropped does not.
        score = np.where(lung, np.maximum(score, 0.51), np.minimum(score, 0.49))
        right = cv2.dilate((small[z] == RIGHT).astype(np.uint8), kernel)
        sides = np.where(lung, small[z], np.where(right, RIGHT, LEFT)).astype(np.uint8)
        whole = (cv2.warpAffine(score, back, size, flags=_LINEAR) > 0.5).astype(np.uint8)
        nearest = cv2.warpAffine(sides, back, size, flags=_NEAREST)
        has_air = slices[z] < BORDER_HU
        kept = (cv2.erode(whole, near) > 0) | (cv2.dilate(whole, near) > 0) & has_air
        mask[z] = np.where(kept, nearest, 0)
    return mask
