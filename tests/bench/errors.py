"""How far a matte is from the true one.

sad: sum of |difference| / 1000. mse: mean squared difference x 1000. gradient: sum of the squared
difference of the gradients (Gaussian, 1.4 px) / 1000. connectivity: how much opacity is cut off
from the body in one of the two / 1000. All four after Rhemann et al., CVPR 2009.
fog: mean alpha farther than 12 px outside the true edge, in %. lack: mean of what is missing to
full alpha farther than 12 px inside of it, in %. grey: pixels there that are neither clear nor
solid, in %: a veil, where fog and lack also count what was taken for something else.
"""

from typing import Any

import cv2
import numpy as np

MEASURES = ("sad", "mse", "gradient", "connectivity", "fog", "lack", "grey")
SIGMA_PX = 1.4
LEVELS = np.arange(0.1, 1.0, 0.1)
"""Of connectivity."""
FAR_PX = 12
CLEAR, SOLID = 5, 250
"""Of 255: up to the first a pixel is clear, from the second on solid."""

Map = np.ndarray[Any, Any]


def errors(alpha: Map, truth: Map) -> dict[str, float]:
    """Both H x W uint8."""
    matte, real = alpha.astype(np.float64) / 255, truth.astype(np.float64) / 255
    difference = matte - real
    outside, inside = _far(truth == 0), _far(truth == 255)
    partial = (alpha > CLEAR) & (alpha < SOLID)
    return {
        "sad": float(np.abs(difference).sum()) / 1000,
        "mse": float((difference**2).mean()) * 1000,
        "gradient": float(((_gradient(matte) - _gradient(real)) ** 2).sum()) / 1000,
        "connectivity": _connectivity(matte, real),
        "fog": _percent(matte[outside]),
        "lack": _percent(1 - matte[inside]),
        "grey": _percent(partial[outside | inside]),
    }


def _far(area: Map) -> Map:
    """The pixels of an area that are farther than FAR_PX from all that is not in it."""
    padded = np.pad(area.astype(np.uint8), 1, mode="edge")  # a picture's border is no edge
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1] > FAR_PX)


def _percent(values: Map) -> float:
    return float(values.mean()) * 100 if values.size else 0.0


def _gradient(matte: Map) -> Map:
    """Its magnitude, by derivatives of a Gaussian."""
    reach = np.arange(-5, 6)
    smooth = np.exp(-(reach**2) / (2 * SIGMA_PX**2))
    slope = -reach / SIGMA_PX**2 * smooth
    smooth, slope = smooth / np.sqrt((smooth**2).sum()), slope / np.sqrt((slope**2).sum())
    across = cv2.sepFilter2D(matte, cv2.CV_64F, slope, smooth)
    return np.hypot(across, cv2.sepFilter2D(matte, cv2.CV_64F, smooth, slope))


def _connectivity(matte: Map, real: Map) -> float:
    """The sum of the differences of how far each pixel hangs together with the common body."""
    last = np.zeros(matte.shape)
    for level in LEVELS:
        both = ((matte >= level) & (real >= level)).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(both, connectivity=4)
        if count < 2:
            break
        body = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        last[body] = level
    held = [_held(matte, last), _held(real, last)]
    return float(np.abs(held[0] - held[1]).sum()) / 1000


def _held(matte: Map, level: Map) -> Map:
    """1, less what a pixel has above the level at which it leaves the body, from 0.15 on."""
    above = matte - level
    return 1 - above * (above >= 0.15)
