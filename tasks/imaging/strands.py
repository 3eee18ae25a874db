"""Hairs that a coarse matte cannot hold: thin, coloured like the subject's rim, grown out of it.

A network that looks at 320 px ends the subject where single hairs begin. They are found in the
photo: on the line from the colour behind to the rim's colour, a hair is a narrow peak. It counts
where the ground around it is calm, where peaks outnumber dips (texture has both), and where most
of what is thin hangs on the subject (a lattice or a lettering behind it does not).
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging import alpha as mattes
from tasks.imaging import geometry
from tasks.imaging.alpha import Matte, Radius
from tasks.imaging.types import Alpha, Image

_WORK_SIDE = 1024
"""Larger photos are shrunk to this to look for strands."""
_COLOUR_SIDE, _RIM_PX = 256, 9
"""Colours are taken at this size, the subject's from a rim so wide."""
_FAR_PART, _NEAR_PART = 10, 40
"""Radii of the colours' blurs as parts of the side: the rim's, and the ground's nearest."""
_LEAST_CONTRAST, _GRAIN = 25.0, 5.0
"""Of 255, between rim and ground: less tells nothing apart; smaller peaks are noise."""
_WIDEST_PX = 9
"""A peak that is wider is no strand."""
_MIDDLE_PX = 19
"""Side of the median that is the ground's level."""
_THIN = 0.1
"""Smallest opacity by which a strand is followed."""
_REACH = 0.12
"""Of the side: no strand leaves the subject further; the last quarter fades."""
_AROUND, _WIDE_AROUND = 0.025, 0.06
"""Radii of the neighbourhoods that are judged, as parts of the side."""
_SKEW = (0.2, 0.5)
"""(peaks - dips) / (peaks + dips), of squared heights: texture, hair."""
_CALM = (0.15, 0.06)
"""Deviation of the ground's level: restless, calm."""
_ROOTED = (0.5, 0.8)
"""Part of the thin things around that hang on the subject: few, most."""
_SHARE_STEPS, _SHARE_LOWEST = 127.0, -0.5
"""Shares as bytes, for the median: from -0.5 to 1.5."""


class _Scene(NamedTuple):
    """What the search works on, all H x W."""

    share: Matte
    """Of the rim's colour in each pixel: 0 like the ground, 1 like the rim; -0.5..1.5."""
    grain: Matte
    """The share by which noise alone may differ."""
    outside: Matte
    """1 where the matte shows no subject, a pixel off; else 0."""
    ground: Matte
    """The share without peaks that are narrower than _WIDEST_PX."""
    level: Matte
    """The share's median around."""


def add(alpha: Alpha, image: Image) -> Alpha:
    """The matte with the strands that leave the subject; it is lowered nowhere."""
    height, width = alpha.shape
    size = geometry.fit(height, width, _WORK_SIDE)
    matte = geometry.resize(alpha, *size)
    inside = (matte > 127).astype(np.uint8)
    if not inside.any() or inside.all():
        return alpha
    found = _strands(geometry.resize(image, *size), matte, inside)
    strands = geometry.resize(np.asarray(found * 255 + 0.5, np.uint8), height, width)
    return np.asarray(np.maximum(alpha, strands), np.uint8)


def _strands(image: Image, matte: Alpha, inside: Alpha) -> Matte:
    """Opacity of the strands, 0..1."""
    scene = _scene(image, matte, inside)
    over = scene.share - scene.ground
    thin = np.clip(over / np.maximum(1 - scene.ground, 0.3) - scene.grain, 0, 1)
    thin = thin * (scene.grain < _GRAIN / _LEAST_CONTRAST)
    near, wide = (_radius(matte.shape, part) for part in (_AROUND, _WIDE_AROUND))
    likely = thin * _skewed(scene, near) * _calm(scene, near)
    rooted = likely * _hanging(likely > _THIN, inside) * _within_reach(inside)
    any_thin = (thin > _THIN) * scene.outside
    among = mattes.box_mean(any_thin * (rooted > _THIN / 2), wide) / (
        mattes.box_mean(any_thin, wide) + 1e-3
    )
    return np.asarray(rooted * _ramp(among, _ROOTED), np.float32)


def _scene(image: Image, matte: Alpha, inside: Alpha) -> _Scene:
    share, contrast = _shares(image, matte)
    grown = cv2.dilate(inside, np.ones((3, 3), np.uint8)) > 0
    smooth = np.where(grown, 2, cv2.GaussianBlur(share, (0, 0), 0.7))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_WIDEST_PX, _WIDEST_PX))
    # Inside the subject erosion sees nothing low, dilation nothing high: neither leaks out.
    low = cv2.erode(smooth, disc)
    low = cv2.dilate(np.where(low > 1.5, np.float32(_SHARE_LOWEST), low), disc)
    ground = cv2.blur(low, (_WIDEST_PX, _WIDEST_PX))
    steps = (np.where(grown, ground, share) - _SHARE_LOWEST) * _SHARE_STEPS
    middle = cv2.medianBlur(np.clip(steps, 0, 255).astype(np.uint8), _MIDDLE_PX)
    level = middle.astype(np.float32) / _SHARE_STEPS + _SHARE_LOWEST
    grain = _GRAIN / np.maximum(contrast, 1)
    return _Scene(share, grain, (~grown).astype(np.float32), ground, level)


def _shares(image: Image, matte: Alpha) -> tuple[Matte, Matte]:
    """(share of the rim's colour, contrast between it and the ground in 0..255) per pixel.

    The share is the projection of the pixel on the line between both colours.
    """
    rim, ground = _colours(image, matte)
    way = (rim - ground) / 255
    contrast = np.sqrt((way * way).sum(-1))
    slopes = way / np.maximum(contrast, 1 / 255)[..., None] ** 2
    share = mattes.linear(image, slopes, -(ground / 255 * slopes).sum(-1))
    size = (matte.shape[1], matte.shape[0])
    return np.clip(share, _SHARE_LOWEST, 1.5), cv2.resize(contrast * 255, size)


def _colours(image: Image, matte: Alpha) -> tuple[NDArray[Any], NDArray[Any]]:
    """Around each pixel, small and 0..255: the subject's rim, and the ground beside it.

    Where no rim is near both are the same.
    """
    size = geometry.fit(matte.shape[0], matte.shape[1], _COLOUR_SIDE)
    pixels, small = geometry.resize(image, *size), geometry.resize(matte, *size)
    sure = (small > 250).astype(np.uint8)
    rim = (sure - cv2.erode(sure, np.ones((_RIM_PX, _RIM_PX), np.uint8))).astype(np.float32)
    rest = cv2.dilate(small, np.ones((3, 3), np.uint8)) < 128
    clear = np.where(rest, 1 - small / np.float32(255), np.float32(0))
    far, near = (_radius(size, 1 / part) for part in (_FAR_PART, _NEAR_PART))
    closest = np.clip(mattes.box_mean(clear, near) * 10, 0, 1)[..., None]
    wide, narrow = (_mean_colour(pixels, clear, radius) for radius in (far, near))
    ground = narrow * closest + wide * (1 - closest)
    is_near = (mattes.box_mean(rim, far) > 1e-3)[..., None]
    return np.where(is_near, _mean_colour(pixels, rim, far), ground), ground


def _mean_colour(pixels: Image, weight: Matte, radius: Radius) -> NDArray[Any]:
    total = mattes.box_mean(weight, radius)[..., None] + np.float32(1e-4)
    return mattes.box_mean(pixels * weight[..., None], radius) / total


def _skewed(scene: _Scene, radius: Radius) -> Matte:
    """1 where peaks stand over a level that is dipped below nowhere, 0 in texture."""
    off = (scene.share - scene.level) * scene.outside
    peaks, dips = (
        mattes.box_mean(np.maximum(sign * off - scene.grain / 2, 0) ** 2, radius)
        for sign in (1, -1)
    )
    return _ramp((peaks - dips) / (peaks + dips + 1e-5), _SKEW)


def _calm(scene: _Scene, radius: Radius) -> Matte:
    """1 where the ground hardly changes, 0 where it has edges of its own."""
    weight = mattes.box_mean(scene.outside, radius) + np.float32(1e-3)
    level = mattes.box_mean(scene.level * scene.outside, radius) / weight
    square = mattes.box_mean(scene.level**2 * scene.outside, radius) / weight
    return _ramp(np.sqrt(np.maximum(square - level**2, 0)), _CALM)


def _hanging(thin: NDArray[np.bool_], inside: Alpha) -> NDArray[np.bool_]:
    """Where `thin` is connected with the inside, which counts as well."""
    either = (thin | (inside > 0)).astype(np.uint8)
    count, labels = cv2.connectedComponents(either, connectivity=8)
    touches = np.zeros(count, bool)
    touches[np.unique(labels[inside > 0])] = True
    return np.asarray(touches[labels], bool)


def _within_reach(inside: Alpha) -> Matte:
    distance = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    reach = _REACH * max(inside.shape)
    return _ramp(distance, (reach, 0.75 * reach))


def _radius(shape: tuple[int, ...], part: float) -> Radius:
    radius = max(2, int(part * max(shape)))
    return radius, radius


def _ramp(values: Matte, ends: tuple[float, float]) -> Matte:
    """0 at the first end, 1 at the second, whichever is higher."""
    first, last = ends
    ramp = (values - np.float32(first)) / np.float32(last - first)
    return np.asarray(np.clip(ramp, 0, 1), np.float32)
