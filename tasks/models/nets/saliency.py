"""Prepares a saliency network's input and turns its map into a matte: arrays only, no torch."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging import geometry
from tasks.imaging.types import Image, Tensor

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
"""Of ImageNet's channels; the weights were trained with them."""

LEAST_SPAN = 0.5
"""Values of a photo with a subject span over 0.8, of noise or a plain wall under 0.3. A smaller
span is not stretched, so those stay faint."""
SURE = 0.9
"""From this value on the network is sure. A map that never reaches it shows no subject."""
DOUBTFUL = 0.5
"""Below this value it rather takes a pixel for background."""
GROUND = 0.05
"""Below this value it is sure of background: the middle of every hole measured has 0.00."""
LEAST_DENT = 25
"""Pixels of the map: smaller doubtful areas are often gaps in fur."""
BESIDE = (1.5, 5.0)
"""Distances in pixels of the map: up to the first from what is sure, a doubtful value counts fully;
from the second on, not at all."""
LARGE = (0.4, 0.2)
"""A doubtful area of this share of the sure area and this mean value may be half the subject."""
RAISED = 0.4
"""From this mean value on an area that stays becomes sure."""
ENDS = (0.03, 0.95)
"""Values up to the first become 0, from the second on 1, so that solid bodies are solid."""
SLOPE = (0.002, 0.015)
"""Rise per pixel of the map: up to the first it is flat, from the second on a ramp. Stretching a
ramp would sharpen what is out of focus."""
SOFT = (4.0, 7.0)
"""Distances from the outline in pixels of the map: up to the first a value between 0 and 1 is that
of a soft edge, from the second on it is fog."""
SIMILAR = (0.6, 0.9)
"""Probability that a colour is the subject's: counts from the first on, fully from the second."""
FAINT = (0.1, 0.4)
"""Below the first value the network finds too little for colours to count; from the second on they
count fully."""
UNSEEN = 2e-4
"""Share of the pixels below which a colour tells little. For an unseen colour the probability is a
half."""
SHADES, SIMILAR_PX = 16, 11
"""Steps per channel of a colour, and side of the box over which probabilities are averaged."""
LEAST_SHARE = 0.005
"""An island with less than this share of the largest island's opacity is a speck."""


def prepare(image: Image, side: int) -> Tensor:
    """HWC uint8 RGB -> 3 x side x side float32: divided by its maximum, then ImageNet's norm."""
    small = geometry.resize(image, side, side)
    normed: Tensor = np.empty((len(MEAN), side, side), np.float32)
    brightest = np.float32(max(float(small.max()), 1.0))
    # Plane by plane: operations on a last axis of three values take five times as long.
    for channel, plane in enumerate(normed):
        np.divide(small[..., channel], brightest, out=plane, dtype=np.float32)
        plane -= MEAN[channel]
        plane /= DEVIATION[channel]
    return normed


def infer_cpu(session: Any, batch: Tensor) -> Sequence[Tensor]:
    """What `infer` does, by a session of either: N x 3V x 320 x 320 -> N of V x 320 x 320."""
    images = batch.reshape(-1, 1, 3, *batch.shape[2:])
    maps = np.concatenate([session.run(image) for image in images])
    lowest = maps.min((1, 2, 3), keepdims=True)
    span = maps.max((1, 2, 3), keepdims=True) - lowest
    stretched = (maps - lowest) / np.maximum(span, LEAST_SPAN)
    return list(stretched.reshape(len(batch), -1, *maps.shape[2:]))


def clean(matte: Tensor, image: Image) -> Tensor:
    """HW float32 0..1 -> the same without dents, haze and specks; the ends become 0 and 1.

    Doubtful areas with the subject's colours become subject. The image may have any size.
    """
    if matte.max() < SURE:
        return np.zeros_like(matte)
    matte = _without_dents(matte)
    hazeless = _without_haze(matte, _similar_colours(matte, geometry.resize(image, *matte.shape)))
    return _without_specks(_settled(_stretched(hazeless, _flat(matte))))


def _without_dents(matte: Tensor) -> Tensor:
    """Fill doubtful areas inside the subject, but no holes: those have background in the middle."""
    matte = np.where(_enclosed(matte, DOUBTFUL, LEAST_DENT), np.float32(DOUBTFUL), matte)
    return np.where(_enclosed(matte, SURE, 0), np.float32(1), matte)


def _enclosed(matte: Tensor, level: float, least: int) -> NDArray[np.bool_]:
    """Areas below the level of which none is sure background, and of at least so many pixels."""
    low = (matte < level).view(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(low, connectivity=8)
    is_dent = stats[:, cv2.CC_STAT_AREA] >= least
    is_dent[labels[matte < GROUND]] = False
    is_dent[0] = False  # the label of what is higher
    return np.asarray(is_dent[labels], np.bool_) if is_dent.any() else np.zeros(low.shape, np.bool_)


def _without_haze(matte: Tensor, similar: Tensor) -> Tensor:
    """Fade what is doubtful and far from everything that is sure, or make it sure.

    Soft edges are thin, so they lie beside what is sure. In a doubtful area further away, the
    network is undecided about another thing (a flag behind a person) or about a part of the
    subject; it is not transparency. Where its colours are similar to the subject's, it becomes
    subject. Otherwise it stays where the network rather believes in it, or where it is so large
    that it may be a body; from its mean value on, it is then sure.
    """
    near, far = BESIDE
    distance = cv2.distanceTransform((matte < SURE).astype(np.uint8), cv2.DIST_L2, 5)
    beside = np.clip((far - distance) / (far - near), 0, 1)
    certain = _smooth_step(matte, DOUBTFUL, SURE)
    believed, level = _believed(matte, distance > far)
    kept = matte * np.maximum.reduce([beside, certain, similar])
    kept = np.maximum(kept, believed * np.maximum(matte, np.minimum(matte / level, 1)))
    filled: Tensor = kept + (1 - kept) * similar * (1 - beside)
    return filled


def _similar_colours(matte: Tensor, small: Image) -> Tensor:
    """How much the doubtful pixels look like the subject rather than the background, 0..1."""
    chance = likeness(small, matte >= SURE, clear(matte))
    doubtful = ((matte >= ENDS[0]) & (matte < SURE)).astype(np.float32)
    box = (SIMILAR_PX, SIMILAR_PX)
    mean = cv2.blur(chance * doubtful, box) / np.maximum(cv2.blur(doubtful, box), 1e-6)
    return _smooth_step(np.asarray(mean, np.float32), *SIMILAR) * _smooth_step(matte, *FAINT)


def clear(matte: Tensor) -> NDArray[np.bool_]:
    """Where there is ground alone, also around."""
    return np.asarray(cv2.dilate(matte, np.ones((5, 5), np.uint8)) < ENDS[0])


def likeness(small: Image, subject: NDArray[np.bool_], ground: NDArray[np.bool_]) -> Tensor:
    """The probability, H x W, that a pixel's colour is that of one area and not of the other."""
    shades = (small // (256 // SHADES)).astype(np.int32)
    colours = (shades[..., 0] * SHADES + shades[..., 1]) * SHADES + shades[..., 2]
    some, others = (_shares(colours[area])[colours] for area in (subject, ground))
    return np.asarray((some + UNSEEN / 2) / (some + others + UNSEEN), np.float32)


def _shares(colours: NDArray[np.int32]) -> Tensor:
    """The share of each colour, spread to the neighbouring shades."""
    counts = np.bincount(colours, minlength=SHADES**3).astype(np.float32)
    shares = counts.reshape(SHADES, SHADES, SHADES) / np.float32(max(colours.size, 1))
    for _ in range(3):  # each time along the first axis, which then becomes the last one
        padded = np.pad(shares, ((1, 1), (0, 0), (0, 0)))
        spread = (padded[:-2] + 2 * shares + padded[2:]) / 4
        shares = np.ascontiguousarray(np.moveaxis(spread, 0, 2))
    return shares.ravel()


def _smooth_step(values: Tensor, first: float, last: float) -> Tensor:
    """0 up to `first`, 1 from `last` on, smooth at both."""
    ramp = np.clip((values - first) / (last - first), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32)


def _believed(matte: Tensor, is_far: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """(1 in the doubtful areas that stay, less within a few pixels of them, else 0; the mean value
    of the area there, else 1): a body that the network half believes in is not torn."""
    _, labels = cv2.connectedComponents((is_far & (matte > ENDS[0])).astype(np.uint8))
    pixels = np.bincount(labels.ravel())
    means = np.bincount(labels.ravel(), matte.ravel()) / np.maximum(pixels, 1)
    part, value = LARGE
    is_large = (pixels >= part * np.count_nonzero(matte >= SURE)) & (means >= value)
    stays = (means >= DOUBTFUL) | is_large
    stays[0] = False  # the label of everything else
    if not stays.any():
        return np.zeros_like(matte), np.ones_like(matte)
    reach = round(BESIDE[1]) + 2  # and two for the blur
    side = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    reached = cv2.dilate(stays[labels].astype(np.float32), side)
    levels = np.where(stays & (means >= RAISED), means, 1)[labels].astype(np.float32)
    return np.asarray(cv2.blur(reached, (5, 5)), np.float32), np.asarray(cv2.erode(levels, side))


def _stretched(matte: Tensor, flat: Tensor) -> Tensor:
    """Where it is flat, the ends become 0 and 1."""
    low, high = ENDS
    whole = np.clip((matte - low) / (high - low), 0, 1)
    return np.asarray(matte + flat * (whole - matte), np.float32)


def _settled(matte: Tensor) -> Tensor:
    """0 or 1 far from the outline: what is neither an edge nor a strand is not half there."""
    solid = (matte > DOUBTFUL).astype(np.uint8)
    inside, outside = (cv2.distanceTransform(a, cv2.DIST_L2, 5) for a in (solid, 1 - solid))
    far = _smooth_step(np.asarray(inside + outside, np.float32), *SOFT)
    return np.asarray(matte + far * (solid - matte), np.float32)


def _flat(matte: Tensor) -> Tensor:
    """1 in flat areas and at steps, 0 on ramps, by which the network shows what is out of focus."""
    down = np.diff(matte, axis=0, prepend=matte[:1], append=matte[-1:])
    across = np.diff(matte, axis=1, prepend=matte[:, :1], append=matte[:, -1:])
    rises = _rise(down[:-1], down[1:]), _rise(across[:, :-1], across[:, 1:])
    return 1 - _smooth_step(np.hypot(*rises), *SLOPE)


def _rise(before: Tensor, after: Tensor) -> Tensor:
    """The smaller of the steps to both neighbours; 0 at a foot, a top or a peak."""
    return np.where(before * after > 0, np.minimum(abs(before), abs(after)), np.float32(0))


def _without_specks(matte: Tensor) -> Tensor:
    """Remove islands that are tiny compared with the largest one."""
    count, labels = cv2.connectedComponents((matte > 0).view(np.uint8), connectivity=8)
    if count <= 2:  # the label of nothing, and one island
        return matte
    opacity = np.bincount(labels.ravel(), matte.ravel())
    return np.where((opacity < LEAST_SHARE * opacity.max())[labels], np.float32(0), matte)
