"""Where the body is in a CT, and the square around it that a network sees."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Slices = NDArray[np.int16]
"""Z x H x W in Hounsfield units: front of the body at the top, its left at the right."""

AIR = -1024
TISSUE = -500
"""HU above which a pixel may be body."""
COARSE = 128
"""Side in pixels at which the body is looked for."""
MARGIN = 0.04
"""Air kept around the body, as a share of the square's side."""
SPREAD = 20.0
"""Percentile of the slices' boxes that is left out on each side: shoulders and arms are wider than
the chest, and no lung is near their skin."""


@dataclass(frozen=True)
class Square:
    """A square of a slice in pixels; it may reach beyond the slice, where there is air."""

    x: float
    y: float
    side: float

    def to_crop(self, side: int) -> NDArray[np.float64]:
        """2 x 3: from the centre of a slice's pixel to the centre of one of a crop of `side`."""
        scale = side / self.side
        shift = [(0.5 - self.x) * scale - 0.5, (0.5 - self.y) * scale - 0.5]
        return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def body_square(slices: Slices) -> Square:
    """The square around the body that serves all slices of a volume.

    A table and arms beside the body are left out where they do not touch it. Without any body it
    is the square around the whole slice.
    """
    height, width = slices.shape[1:]
    boxes = np.array([box for box in map(_body_box, slices) if box is not None])
    if not len(boxes):
        side = float(max(height, width))
        return Square((width - side) / 2, (height - side) / 2, side)
    left, top = np.percentile(boxes[:, :2], SPREAD, axis=0)
    right, bottom = np.percentile(boxes[:, 2:], 100 - SPREAD, axis=0)
    side = float(max(right - left, bottom - top)) * (1 + 2 * MARGIN)
    return Square(float(left + right - side) / 2, float(top + bottom - side) / 2, side)


def crop(image: Slices, square: Square, side: int, background: int = AIR) -> NDArray[np.float32]:
    """H x W -> side x side float32, the square of it; averaged where it shrinks."""
    height, width = image.shape
    pixels = image.astype(np.float32)
    shrink = square.side / side
    matrix = square.to_crop(side)
    if shrink > 1.0:
        # What warpAffine samples must be averaged over a pixel of the crop first.
        to = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        small = cv2.resize(pixels, to, interpolation=cv2.INTER_AREA)
        pixels = small.astype(np.float32, copy=False)
        scale = np.array([to[0] / width, to[1] / height])
        # Centre of a small pixel -> centre of a pixel of the slice -> crop.
        back = np.array(
            [[1 / scale[0], 0, 0.5 / scale[0] - 0.5], [0, 1 / scale[1], 0.5 / scale[1] - 0.5]]
        )
        matrix = matrix @ np.vstack([back, [0, 0, 1]])
    return cv2.warpAffine(
        pixels, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=(float(background),)
    ).astype(np.float32, copy=False)


def _body_box(image: Slices) -> tuple[float, float, float, float] | None:
    """x1, y1, x2, y2 in pixels of the largest thing in a slice that is no air."""
    height, width = image.shape
    shrink = max(height, width) / COARSE
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    small = cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    # The border is air, so that erosion begins there too.
    solid = np.pad((small > TISSUE).astype(np.uint8), 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    opened = cv2.morphologyEx(solid, cv2.MORPH_OPEN, kernel)
    count, _, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        return None
    x, y, w, h, area = stats[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())]
    if area < 0.01 * size[0] * size[1]:
        return None
    sx, sy = width / size[0], height / size[1]
    return ((x - 1) * sx, (y - 1) * sy, (x - 1 + w) * sx, (y - 1 + h) * sy)
