"""A picture of twelve slices with the two lungs drawn in: told apart by colour and by pattern."""

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging.types import Image
from tasks.imaging.volumes.lungs import LEFT, RIGHT, SIDE, Lungs, crops

COLUMNS, ROWS = 4, 3
LOW, HIGH = -1350, 150
"""The window of lungs, in HU."""
COLOURS = {RIGHT: (230, 159, 0), LEFT: (86, 180, 233)}
"""Orange and blue, as in the viewer: all eyes tell them apart (Okabe and Ito)."""
STRIPE = 12
"""Pixels between two stripes of the left lung; the right one is plain."""
OPACITY = 0.35


def montage(slices: NDArray[np.int16], lungs: Lungs) -> Image:
    """(ROWS * SIDE) x (COLUMNS * SIDE) x 3: slices at equal distances, from the head to the feet.

    Over the extent of the lungs, or over the whole volume if there are none. Each has its number.
    """
    seen = np.flatnonzero(lungs.small.any(axis=(1, 2)))
    first, last = (seen[0], seen[-1]) if len(seen) else (0, len(slices) - 1)
    chosen = np.unique(np.linspace(last, first, COLUMNS * ROWS).round().astype(int))[::-1]
    sheet = np.zeros((ROWS * SIDE, COLUMNS * SIDE, 3), np.uint8)
    for n, (z, small) in enumerate(zip(chosen, crops(slices[chosen], lungs.square), strict=True)):
        y, x = n // COLUMNS * SIDE, n % COLUMNS * SIDE
        sheet[y : y + SIDE, x : x + SIDE] = _drawn(small, lungs.small[z], int(z) + 1)
    return sheet


def _drawn(small: NDArray[np.float16], sides: NDArray[np.uint8], number: int) -> Image:
    grey = np.clip((small.astype(np.float32) - LOW) / (HIGH - LOW) * 255, 0, 255)
    picture = np.repeat(grey[..., None], 3, axis=2)
    y, x = np.indices(sides.shape)
    for side, colour in COLOURS.items():
        lung = sides == side
        strength = np.where((x + y) % STRIPE < 2, 0.8, OPACITY) if side == LEFT else OPACITY
        share = (lung * strength)[..., None]
        picture = picture * (1 - share) + np.array(colour) * share
    drawn = np.ascontiguousarray(picture.astype(np.uint8))
    for side, colour in COLOURS.items():
        outline, _ = cv2.findContours(
            (sides == side).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(drawn, outline, -1, colour, 1)
    cv2.putText(drawn, str(number), (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
    return drawn
