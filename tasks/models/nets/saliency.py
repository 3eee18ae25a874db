"""What goes into a saliency network and how its map becomes a matte: arrays only, no torch."""

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging import geometry
from tasks.imaging.types import Image, Tensor

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
"""Of ImageNet's channels, as the weights were trained."""

SURE = 0.9
"""From here on the network is sure. A map that never gets there shows no subject."""
DOUBTFUL = 0.5
"""Below this it rather thinks of background."""
BESIDE = (1.5, 5.0)
"""Pixels of the map: so near to what is sure a doubtful value counts fully, so far not at all."""
LARGE = (0.4, 0.2)
"""A doubtful area of this part of what is sure, and this mean value, may be half of the subject."""
ENDS = (0.03, 0.95)
"""These become 0 and 1. Closer ends would sharpen what is out of focus."""
LEAST_SHARE = 0.005
"""An island with less than this share of the largest one's opacity is a speck."""


def prepare(image: Image, side: int) -> Tensor:
    """HWC uint8 RGB -> 3 x side x side float32: by its maximum to 0..1, then ImageNet's norm."""
    small = geometry.resize(image, side, side).astype(np.float32)
    small /= max(float(small.max()), 1.0)
    normed: Tensor = (small - MEAN) / DEVIATION
    return np.ascontiguousarray(normed.transpose(2, 0, 1))


def clean(matte: Tensor) -> Tensor:
    """HW float32 0..1 -> the same without dents, haze and specks; the ends become 0 and 1."""
    if matte.max() < SURE:
        return np.zeros_like(matte)
    hazeless = _without_haze(_without_dents(matte))
    low, high = ENDS
    stretched = np.clip((hazeless - low) / (high - low), 0, 1)
    return _without_specks(stretched.astype(np.float32))


def _without_dents(matte: Tensor) -> Tensor:
    """Fill what lies inside the subject and is nowhere background; a hole is, in its middle."""
    _, labels = cv2.connectedComponents((matte < SURE).astype(np.uint8), connectivity=8)
    ground = np.bincount(labels[matte < DOUBTFUL], minlength=int(labels.max()) + 1) > 0
    ground[0] = True  # the label of what is sure already
    return np.where(ground[labels], matte, np.float32(1))


def _without_haze(matte: Tensor) -> Tensor:
    """Fade what is doubtful and far from all that is sure.

    Soft edges are thin, so they lie beside what is sure. A doubtful area further away is the
    network in two minds about another thing (a flag behind a person), not transparency. It stays
    where the network rather believes in it, or where it is so large that it may be a body.
    """
    near, far = BESIDE
    distance = cv2.distanceTransform((matte < SURE).astype(np.uint8), cv2.DIST_L2, 5)
    beside = np.clip((far - distance) / (far - near), 0, 1)
    certain = np.clip((matte - DOUBTFUL) / (SURE - DOUBTFUL), 0, 1)
    certain *= certain * (3 - 2 * certain)  # smoothstep: no kink where it begins and ends
    believed = _believed(matte, distance > far)
    kept: Tensor = matte * np.maximum(np.maximum(beside, certain), believed)
    return kept


def _believed(matte: Tensor, is_far: NDArray[np.bool_]) -> Tensor:
    """1 in the doubtful areas that stay, less within pixels of them, else 0."""
    _, labels = cv2.connectedComponents((is_far & (matte > ENDS[0])).astype(np.uint8))
    pixels = np.bincount(labels.ravel())
    means = np.bincount(labels.ravel(), matte.ravel()) / np.maximum(pixels, 1)
    part, value = LARGE
    is_large = (pixels >= part * np.count_nonzero(matte >= SURE)) & (means >= value)
    stays = (means >= DOUBTFUL) | is_large
    stays[0] = False  # the label of all the rest
    reach = round(BESIDE[1]) + 2  # and two for the blur
    side = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    reached = cv2.dilate(stays[labels].astype(np.float32), side)
    return np.asarray(cv2.blur(reached, (5, 5)), np.float32)


def _without_specks(matte: Tensor) -> Tensor:
    """Drop islands that are tiny beside the largest one."""
    _, labels = cv2.connectedComponents((matte > 0).astype(np.uint8), connectivity=8)
    opacity = np.bincount(labels.ravel(), matte.ravel())
    return np.where((opacity < LEAST_SHARE * opacity.max())[labels], np.float32(0), matte)
