"""What goes into a saliency network and how its map becomes a matte: arrays only, no torch."""

import cv2
import numpy as np

from tasks.imaging import geometry
from tasks.imaging.types import Image, Tensor

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
"""Of ImageNet's channels, as the weights were trained."""

SURE = 0.9
"""From here on the network is sure. A map that never gets there shows no subject."""
DOUBTFUL = 0.5
"""Up to here a value counts only beside what is sure; between the two it counts in part."""
BESIDE = (2.0, 8.0)
"""Pixels of the map: so near to what is sure a doubtful value counts fully, so far not at all."""
VISIBLE = 0.1
"""Above this a value joins its neighbours into one island."""
LEAST_SHARE = 0.005
"""An island with less than this share of the largest one's opacity is a speck."""


def prepare(image: Image, side: int) -> Tensor:
    """HWC uint8 RGB -> 3 x side x side float32: by its maximum to 0..1, then ImageNet's norm."""
    small = geometry.resize(image, side, side).astype(np.float32)
    small /= max(float(small.max()), 1.0)
    normed: Tensor = (small - MEAN) / DEVIATION
    return np.ascontiguousarray(normed.transpose(2, 0, 1))


def clean(matte: Tensor) -> Tensor:
    """HW float32 0..1 -> the same without haze and specks.

    Soft edges are thin, so they lie beside what is sure. What is doubtful and lies further away
    is the network in two minds about another thing (a flag behind a person), no transparency.
    """
    sure = matte >= SURE
    if not sure.any():
        return np.zeros_like(matte)
    distance = cv2.distanceTransform((~sure).astype(np.uint8), cv2.DIST_L2, 5)
    near, far = BESIDE
    beside = np.clip((far - distance) / (far - near), 0, 1)
    certain = np.clip((matte - DOUBTFUL) / (SURE - DOUBTFUL), 0, 1)
    certain *= certain * (3 - 2 * certain)  # smoothstep: no kink where it begins and ends
    return _without_specks((matte * np.maximum(beside, certain)).astype(np.float32))


def _without_specks(matte: Tensor) -> Tensor:
    visible = (matte > VISIBLE).astype(np.uint8)
    _, labels = cv2.connectedComponents(visible, connectivity=8)
    opacity = np.bincount(labels.ravel(), matte.ravel())
    opacity[0] = 0  # the ground between the islands
    specks = opacity < LEAST_SHARE * opacity.max()
    specks[0] = False
    return np.where(specks[labels], np.float32(0), matte)
