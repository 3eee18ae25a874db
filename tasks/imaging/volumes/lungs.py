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
"""Of a component, or of what of it lies off its border, where gas and tissue mix in a pixel."""
LEAST_INSIDE = 20
"""Pixels off the border by which a component is judged."""
MOST_GAS = 0.2
"""A component of a larger share of all is never taken for gas: a lung may be full of emphysema."""
MOST_HOLE = 64
"""Pixels of a hole that is filled, 12 mm across: a vessel or a nodule. The dome of the diaphragm,
which the lung surrounds too, is larger."""
BORDER_HU = (-300, -150)
"""At the border of the network's lung, pixels above this are no lung: the first where the lung is
as full of air as most, up to the second where it is denser."""
TISSUE_HU, BORDER_SHARE = 50, 0.55
"""The border of a dense lung has this share of the way from the lung's own HU to the tissue's."""
DEEP, AROUND = 6, 15
"""Pixels: a lung's own HU are those so far off its border, on average within so many."""
MIDDLE = 0.15
"""How far from the square's middle the lungs may part, as a share of its side."""
BOTH_SIDES = 0.2
"""A part of a slice that has this share on either side of the middle is two lungs that touch."""

_FEW = 3e-3
"""Share of a window, three pixels of it, that is too little to tell a lung's HU."""
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
    seen = crops(slices, square)
    small = told_apart(cleaned(scores > 0.5, seen))
    return Lungs(small, _enlarged(small, scores, slices, seen, square), square)


def cleaned(mask: components.Mask, small: NDArray[np.float16]) -> components.Mask:
    """The mask without specks and bowel gas, its small holes filled."""
    labels, count = components.label(mask)
    if not count:
        return mask
    sizes = np.bincount(labels.reshape(-1), minlength=count + 1).astype(float)
    sizes[0] = 0
    is_gas = _gas(labels, small, sizes) & (sizes < MOST_GAS * sizes.sum())
    kept = (sizes >= LEAST * sizes.max()) & ~is_gas
    kept[0] = False
    whole: components.Mask = kept[labels]
    for z in np.flatnonzero(whole.any(axis=(1, 2))):
        whole[z] = components.filled(whole[z].astype(np.uint8), MOST_HOLE) > 0
    return _without_thin_ends(whole)


def _gas(
    labels: components.Labels, small: NDArray[np.float16], sizes: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which components are gas, as a whole or off their borders."""
    kernel = np.ones((3, 3), np.uint8)
    inside = np.stack([cv2.erode((each > 0).astype(np.uint8), kernel) > 0 for each in labels])
    is_dark = small < GAS_HU
    dark, within, dark_within = (
        np.bincount(labels[where], minlength=len(sizes))
        for where in (is_dark, inside, inside & is_dark)
    )
    is_gas: NDArray[np.bool_] = dark > GAS_SHARE * sizes
    return is_gas | (within >= LEAST_INSIDE) & (dark_within > GAS_SHARE * within)


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


def _enlarged(
    small: Sides, scores: Scores, slices: Slices, seen: NDArray[np.float16], square: Square
) -> Sides:
    """The sides on the slices' own pixels.

    The border is where interpolated scores are 0.5, and within a pixel of the network's, as it sees
    no finer, where the slice itself has the HU of a border.
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
        border = cv2.warpAffine(_border(lung, seen[z]), back, size, flags=_LINEAR)
        has_air = slices[z] < border
        kept = (cv2.erode(whole, near) > 0) | (cv2.dilate(whole, near) > 0) & has_air
        mask[z] = np.where(kept, nearest, 0)
    return mask


def _border(lung: NDArray[np.bool_], seen: NDArray[np.float16]) -> NDArray[np.float32]:
    """SIDE x SIDE: the HU below which a pixel at the border of a slice's lung is lung.

    Who has breathed out has lungs so dense that a fixed number takes their rim away. Where a lung
    is too thin for its own HU to be seen, it is taken to be full of air.
    """
    deep = cv2.erode(lung.astype(np.uint8), np.ones((2 * DEEP + 1, 2 * DEEP + 1), np.uint8))
    window = (2 * AROUND + 1, 2 * AROUND + 1)
    share = cv2.blur(deep.astype(np.float32), window)
    own = cv2.blur(np.where(deep, seen, 0).astype(np.float32), window) / np.maximum(share, 1e-6)
    border = np.clip(own + BORDER_SHARE * (TISSUE_HU - own), *BORDER_HU)
    return np.where(share > _FEW, border, BORDER_HU[0]).astype(np.float32)
