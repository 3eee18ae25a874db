"""Straight lines in a mask: joints of planks, wires, the edges of a wall."""

import cv2
import numpy as np

from tasks.imaging.types import Alpha

_GAP_PX = 4
"""A line goes on behind so many pixels that lack."""
_BROAD_PX = 7
"""Of what is taken for the line: it is no thinner than that in a photo."""


def straight(mask: Alpha, least_px: int) -> Alpha:
    """1 on straight lines of at least `least_px`, else 0. `mask`: H x W of 0 and 1.

    Of lines a single pixel wide it finds only some: those are as thin as hairs, and where hairs lie
    close together, whatever finds all of the former finds some in the latter.

    Probabilistic Hough transform (Matas, Galambos, Kittler, CVIU 2000).
    """
    found = cv2.HoughLinesP(
        mask, 1, np.pi / 180, least_px // 2, minLineLength=least_px, maxLineGap=_GAP_PX
    )
    drawn = np.zeros(mask.shape, np.uint8)
    for left, top, right, bottom in np.reshape(found, (-1, 4)) if found is not None else ():
        cv2.line(drawn, (int(left), int(top)), (int(right), int(bottom)), 1, _BROAD_PX)
    return drawn
