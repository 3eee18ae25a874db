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
"""These become 0 and 1, so that solid bodies are solid."""
SLOPE = (0.002, 0.015)
"""Rise per pixel of the map: flat, a ramp. To stretch a ramp would sharpen what is out of focus."""
KIN = (0.6, 0.9)
"""Chance that a colour is the subject's: from here on it counts, from here on fully."""
FAINT = (0.1, 0.4)
"""Below this the network finds too little for colours to count, from here on they count fully."""
UNSEEN = 2e-4
"""Share of the pixels below which a colour tells little. Without any the chance is a half."""
SHADES, KIN_PX = 16, 11
"""Steps per channel of a colour, and the side of the box over which chances are averaged."""
LEAST_SHARE = 0.005
"""An island with less than this share of the largest one's opacity is a speck."""


def prepare(image: Image, side: int) -> Tensor:
    """HWC uint8 RGB -> 3 x side x side float32: by its maximum to 0..1, then ImageNet's norm."""
    small = geometry.resize(image, side, side).astype(np.float32)
    small /= max(float(small.max()), 1.0)
    normed: Tensor = (small - MEAN) / DEVIATION
    return np.ascontiguousarray(normed.transpose(2, 0, 1))


def clean(matte: Tensor, image: Image) -> Tensor:
    """HW float32 0..1 -> the same without dents, haze and specks; the ends become 0 and 1.

    The image may be of any size. Doubt that looks like the subject becomes subject.
    """
    if matte.max() < SURE:
        return np.zeros_like(matte)
    matte = _without_dents(matte)
    hazeless = _without_haze(matte, _kin(matte, geometry.resize(image, *matte.shape)))
    return _without_specks(_stretched(hazeless, _flat(matte)))


def _without_dents(matte: Tensor) -> Tensor:
    """Fill what lies inside the subject and is nowhere background; a hole is, in its middle."""
    _, labels = cv2.connectedComponents((matte < SURE).astype(np.uint8), connectivity=8)
    ground = np.bincount(labels[matte < DOUBTFUL], minlength=int(labels.max()) + 1) > 0
    ground[0] = True  # the label of what is sure already
    return np.where(ground[labels], matte, np.float32(1))


def _without_haze(matte: Tensor, kin: Tensor) -> Tensor:
    """Fade what is doubtful and far from all that is sure, or make it sure.

    Soft edges are thin, so they lie beside what is sure. A doubtful area further away is the
    network in two minds about another thing (a flag behind a person) or about a part of the
    subject, not transparency. It becomes subject by its colours, as far as it is kin. Else it
    stays where the network rather believes in it, or where it is so large that it may be a body.
    """
    near, far = BESIDE
    distance = cv2.distanceTransform((matte < SURE).astype(np.uint8), cv2.DIST_L2, 5)
    beside = np.clip((far - distance) / (far - near), 0, 1)
    certain = _smooth_step(matte, DOUBTFUL, SURE)
    believed = _believed(matte, distance > far)
    kept = matte * np.maximum.reduce([beside, certain, believed, kin])
    filled: Tensor = kept + (1 - kept) * kin * (1 - beside)
    return filled


def _kin(matte: Tensor, small: Image) -> Tensor:
    """How far the doubtful pixels have colours of what is sure rather than of the ground, 0..1."""
    shades = small.astype(np.int32) * SHADES // 256
    colours = (shades[..., 0] * SHADES + shades[..., 1]) * SHADES + shades[..., 2]
    clear = cv2.dilate(matte, np.ones((5, 5), np.uint8)) < ENDS[0]
    subject, ground = (_shares(colours[there])[colours] for there in (matte >= SURE, clear))
    chance = (subject + UNSEEN / 2) / (subject + ground + UNSEEN)
    doubtful = ((matte >= ENDS[0]) & (matte < SURE)).astype(np.float32)
    over, box = cv2.blur(chance * doubtful, (KIN_PX, KIN_PX)), cv2.blur(doubtful, (KIN_PX, KIN_PX))
    return _smooth_step(over / np.maximum(box, 1e-6), *KIN) * _smooth_step(matte, *FAINT)


def _shares(colours: NDArray[np.int32]) -> Tensor:
    """Per colour its share of these, spread to the neighbouring shades."""
    found = np.bincount(colours, minlength=SHADES**3).astype(np.float32)
    shares = found.reshape(SHADES, SHADES, SHADES) / np.float32(max(colours.size, 1))
    for _ in range(3):  # each time along the first axis, which then becomes the last
        padded = np.pad(shares, ((1, 1), (0, 0), (0, 0)))
        spread = (padded[:-2] + 2 * shares + padded[2:]) / 4
        shares = np.ascontiguousarray(np.moveaxis(spread, 0, 2))
    return shares.ravel()


def _smooth_step(values: Tensor, first: float, last: float) -> Tensor:
    """0 up to `first`, 1 from `last` on, without a kink."""
    ramp = np.clip((values - first) / (last - first), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32)


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


def _stretched(matte: Tensor, flat: Tensor) -> Tensor:
    """The ends become 0 and 1 where it is flat."""
    low, high = ENDS
    whole = np.clip((matte - low) / (high - low), 0, 1)
    return np.asarray(matte + flat * (whole - matte), np.float32)


def _flat(matte: Tensor) -> Tensor:
    """1 on areas and at steps, 0 on ramps: what the network shows as out of focus."""
    return 1 - _smooth_step(np.hypot(_rise(matte), _rise(matte.T).T), *SLOPE)


def _rise(matte: Tensor) -> Tensor:
    """The smaller of the steps to both neighbours in a column; 0 at a step's foot, top or peak."""
    steps = np.diff(matte, axis=0, prepend=matte[:1], append=matte[-1:])
    before, after = steps[:-1], steps[1:]
    return np.where(before * after > 0, np.minimum(abs(before), abs(after)), np.float32(0))


def _without_specks(matte: Tensor) -> Tensor:
    """Drop islands that are tiny beside the largest one."""
    _, labels = cv2.connectedComponents((matte > 0).astype(np.uint8), connectivity=8)
    opacity = np.bincount(labels.ravel(), matte.ravel())
    return np.where((opacity < LEAST_SHARE * opacity.max())[labels], np.float32(0), matte)
