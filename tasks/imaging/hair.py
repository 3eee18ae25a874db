"""Adds hairs that a coarse matte lacks: thin, coloured like the subject's rim, connected with it.

A network that sees 320 px ends the subject where single hairs begin. They are found in the photo:
between the background's colour and the rim's colour, a hair is a narrow peak. It counts where the
background around it is smooth, where peaks outnumber dips (texture has both), and where most thin
structures are connected with the subject (a lattice or letters in the background are not).
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
"""Larger photos are shrunk to this size before hairs are looked for."""
_COLOUR_SIDE, _RIM_PX = 256, 9
"""Size at which colours are measured, and width of the rim that gives the subject's colour."""
_FAR_PART, _NEAR_PART = 10, 40
"""The side divided by these gives the radii of the blurs: rim's colour, nearest background."""
_LEAST_CONTRAST, _GRAIN = 25.0, 5.0
"""Of 255. Below this contrast rim and background cannot be told apart; smaller peaks are noise."""
_WIDEST_PX = 9
"""A wider peak is not a hair."""
_MIDDLE_PX = 19
"""Side of the median filter that gives the background's level."""
_THIN = 0.1
"""Smallest opacity at which a hair is followed."""
_REACH = 0.12
"""Furthest that a hair leaves the subject, as a fraction of the side; the last quarter fades."""
_AROUND, _WIDE_AROUND = 0.025, 0.06
"""Radii of the neighbourhoods that are judged, as fractions of the side."""
_SKEW = (0.2, 0.5)
"""(peaks - dips) / (peaks + dips), of squared heights: up to the first texture, from the second on
hair."""
_SMOOTH = (0.15, 0.06)
"""Deviation of the background's level: restless, smooth."""
_ROOTED = (0.5, 0.8)
"""Share of the thin structures around that are connected with the subject: few, most."""
_SHARE_STEPS, _SHARE_LOWEST = 127.0, -0.5
"""How shares from -0.5 to 1.5 become bytes, which the median filter needs."""


class _Scene(NamedTuple):
    """What the search works on; all arrays are H x W."""

    share: Matte
    """Of the rim's colour in each pixel: 0 is the background, 1 the rim; from -0.5 to 1.5."""
    grain: Matte
    """The difference in share that noise alone can make."""
    outside: Matte
    """1 at least a pixel away from the subject, else 0."""
    background: Matte
    """The share without the peaks that are narrower than _WIDEST_PX."""
    level: Matte
    """The median of the share around the pixel."""


def add(alpha: Alpha, image: Image) -> Alpha:
    """The matte with the hairs that leave the subject. No value is lowered."""
    height, width = alpha.shape
    size = geometry.fit(height, width, _WORK_SIDE)
    matte = geometry.resize(alpha, *size)
    inside = (matte > 127).astype(np.uint8)
    if not inside.any() or inside.all():
        return alpha
    opacity = _hairs(geometry.resize(image, *size), matte, inside)
    hairs = geometry.resize(np.asarray(opacity * 255 + 0.5, np.uint8), height, width)
    return np.asarray(np.maximum(alpha, hairs), np.uint8)


def _hairs(image: Image, matte: Alpha, inside: Alpha) -> Matte:
    """Opacity of the hairs, 0..1."""
    scene = _scene(image, matte, inside)
    peaks = scene.share - scene.background
    thin = np.clip(peaks / np.maximum(1 - scene.background, 0.3) - scene.grain, 0, 1)
    thin = thin * (scene.grain < _GRAIN / _LEAST_CONTRAST)
    near, wide = (_radius(matte.shape, part) for part in (_AROUND, _WIDE_AROUND))
    likely = thin * _skewed(scene, near) * _smooth(scene, near)
    rooted = likely * _connected(likely > _THIN, inside) * _within_reach(inside)
    any_thin = (thin > _THIN) * scene.outside
    share_rooted = mattes.box_mean(any_thin * (rooted > _THIN / 2), wide) / (
        mattes.box_mean(any_thin, wide) + 1e-3
    )
    return np.asarray(rooted * _ramp(share_rooted, _ROOTED), np.float32)


def _scene(image: Image, matte: Alpha, inside: Alpha) -> _Scene:
    share, contrast = _shares(image, matte)
    grown = cv2.dilate(inside, np.ones((3, 3), np.uint8)) > 0
    smooth = np.where(grown, 2, cv2.GaussianBlur(share, (0, 0), 0.7))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_WIDEST_PX, _WIDEST_PX))
    # Inside the subject, erosion sees nothing low and dilation nothing high: neither leaks out.
    low = cv2.erode(smooth, disc)
    low = cv2.dilate(np.where(low > 1.5, np.float32(_SHARE_LOWEST), low), disc)
    background = cv2.blur(low, (_WIDEST_PX, _WIDEST_PX))
    steps = (np.where(grown, background, share) - _SHARE_LOWEST) * _SHARE_STEPS
    middle = cv2.medianBlur(np.clip(steps, 0, 255).astype(np.uint8), _MIDDLE_PX)
    level = middle.astype(np.float32) / _SHARE_STEPS + _SHARE_LOWEST
    grain = _GRAIN / np.maximum(contrast, 1)
    return _Scene(share, grain, (~grown).astype(np.float32), background, level)


def _shares(image: Image, matte: Alpha) -> tuple[Matte, Matte]:
    """Per pixel (share of the rim's colour, its contrast with the background in 0..255).

    The share is the projection of the pixel's colour on the line between both colours.
    """
    rim, background = _colours(image, matte)
    line = (rim - background) / 255
    contrast = np.sqrt((line * line).sum(-1))
    slopes = line / np.maximum(contrast, 1 / 255)[..., None] ** 2
    planes = mattes.planes_of(slopes, -(background / 255 * slopes).sum(-1))
    size = (matte.shape[1], matte.shape[0])
    share = mattes.linear(image, cv2.resize(planes, size))
    return np.clip(share, _SHARE_LOWEST, 1.5), cv2.resize(contrast * 255, size)


def _colours(image: Image, matte: Alpha) -> tuple[NDArray[Any], NDArray[Any]]:
    """The colours around each pixel: of the subject's rim, and of the background beside it.

    Both have _COLOUR_SIDE and values 0..255. Far from any rim they are the same.
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
    background = narrow * closest + wide * (1 - closest)
    is_near = (mattes.box_mean(rim, far) > 1e-3)[..., None]
    return np.where(is_near, _mean_colour(pixels, rim, far), background), background


def _mean_colour(pixels: Image, weight: Matte, radius: Radius) -> NDArray[Any]:
    total = mattes.box_mean(weight, radius)[..., None] + np.float32(1e-4)
    return mattes.box_mean(pixels * weight[..., None], radius) / total


def _skewed(scene: _Scene, radius: Radius) -> Matte:
    """1 where there are peaks and no dips, 0 in texture, which has both."""
    off = (scene.share - scene.level) * scene.outside
    peaks, dips = (
        mattes.box_mean(np.maximum(sign * off - scene.grain / 2, 0) ** 2, radius)
        for sign in (1, -1)
    )
    return _ramp((peaks - dips) / (peaks + dips + 1e-5), _SKEW)


def _smooth(scene: _Scene, radius: Radius) -> Matte:
    """1 where the background hardly changes, 0 where it has edges of its own."""
    weight = mattes.box_mean(scene.outside, radius) + np.float32(1e-3)
    level = mattes.box_mean(scene.level * scene.outside, radius) / weight
    square = mattes.box_mean(scene.level**2 * scene.outside, radius) / weight
    return _ramp(np.sqrt(np.maximum(square - level**2, 0)), _SMOOTH)


def _connected(thin: NDArray[np.bool_], inside: Alpha) -> NDArray[np.bool_]:
    """Where `thin` is connected with the inside, and the inside itself."""
    either = (thin | (inside > 0)).astype(np.uint8)
    count, labels = cv2.connectedComponents(either, connectivity=8)
    reaches_inside = np.zeros(count, bool)
    reaches_inside[np.unique(labels[inside > 0])] = True
    return np.asarray(reaches_inside[labels], bool)


def _within_reach(inside: Alpha) -> Matte:
    """1 near the subject, 0 from _REACH on."""
    distance = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    reach = _REACH * max(inside.shape)
    return _ramp(distance, (reach, 0.75 * reach))


def _radius(shape: tuple[int, ...], part: float) -> Radius:
    radius = max(2, int(part * max(shape)))
    return radius, radius


def _ramp(values: Matte, ends: tuple[float, float]) -> Matte:
    """0 at the first end, 1 at the second; the first may be the higher one."""
    first, last = ends
    ramp = (values - np.float32(first)) / np.float32(last - first)
    return np.asarray(np.clip(ramp, 0, 1), np.float32)
