"""One slice as the network learns from it, and what all changes of it share."""

import random

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 256
AIR = -1000.0

Picture = NDArray[np.float32]
"""SIDE x SIDE in HU."""
Mask = NDArray[np.float32]
"""SIDE x SIDE, 0 or 1."""


def blurred(picture: Picture, sigma: float) -> Picture:
    """The picture as a Gaussian of `sigma` pixels blurs it."""
    return cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.float32, copy=False)


def smooth_noise(chance: random.Random, cells: int) -> Picture:
    """SIDE x SIDE: standard normal noise on a grid of cells, interpolated."""
    values = np.random.default_rng(chance.getrandbits(32)).standard_normal(
        (cells, cells), dtype=np.float32
    )
    return cv2.resize(values, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(
        np.float32, copy=False
    )
