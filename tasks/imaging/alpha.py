"""From a coarse matte to a cut-out: edges that follow the photo, colours without the background.

Everything is float32 and uses box filters only, so the time depends on the pixels, not the radius.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging import geometry
from tasks.imaging.parts import busy, enlarged
from tasks.imaging.types import Alpha, Cutout, Image

Matte = NDArray[Any]
"""H x W float32, 0..1."""
Radius = tuple[int, int]
"""Of a box: (rows, columns) on each side of its centre."""

_SURE_LOW, _SURE_HIGH = 0.03, 0.97
"""A coarse value below the first is background, above the second foreground."""
_HAZE = 0.02
"""What the filter leaves beside an edge on a flat side; removed at both ends."""
_RADIUS = 4
"""Of the filter, in pixels of the coarse matte, as outlines out of focus are wider than its own."""
_SOLID_RADIUS = 2
"""This far inside, the subject is solid again. Without it, narrow subjects would look like
glass."""
_EPSILON = 3e-4
"""Smallest variance of the guide (0..1, squared) that counts as an edge."""
_WORK_SIDES = (256, 1024)
"""The filter's statistics are computed at the coarse matte's size, within these limits."""
_WIDE_SIDE, _WIDE_PART = 256, 16
"""Size at which the wide blur is computed; that size divided by its radius."""
_NEAR_SIDE, _NEAR_RADIUS = 512, (2, 2)
"""Size at which the narrow blur is computed, and its radius."""
_LEAST_WEIGHT = 1e-3


def refine(alpha: NDArray[Any], image: Image) -> Alpha:
    """A coarse H' x W' matte (uint8, or float32 0..1) -> the image's size, along its edges.

    Fast guided filter with the image's colours as guide (He, Sun, Tang, PAMI 2013; He, Sun 2015).
    Where the matte is sure all around, it stays 0 or 255.
    """
    height, width = image.shape[:2]
    work_side = min(max(*alpha.shape, _WORK_SIDES[0]), _WORK_SIDES[1])
    work_height, work_width = geometry.fit(height, width, work_side)
    coarse = geometry.resize(_as_matte(alpha), work_height, work_width)
    guide = geometry.resize(image, work_height, work_width)
    wide, narrow = (
        _radius(alpha.shape[:2], coarse.shape, pixels) for pixels in (_RADIUS, _SOLID_RADIUS)
    )
    planes = stretched(*guided(guide.astype(np.float32) / 255, coarse, wide, _EPSILON))
    sure = _sure(coarse, wide, narrow)
    fine, unsure = _known(sure, height, width)
    for part in busy(unsure):
        matte, known = (enlarged(small, part, (height, width)) for small in (planes, sure))
        fine[part] = as_bytes(_settled(linear(image[part], matte), known))
    return fine


def foreground(image: Image, alpha: Alpha) -> Image:
    """The foreground's colours: at soft edges, the background's share is removed.

    Blur fusion in two passes (Forte, ICIP 2021), with the blurs at a smaller size. Where alpha is 0
    or 255, the image is unchanged.
    """
    if not is_soft(alpha):
        return image
    height, width = alpha.shape
    made = image.copy()
    decontaminate(made, alpha, near_colours(image, alpha), slice(0, height), (height, width))
    return made


def is_soft(alpha: Alpha) -> bool:
    """Whether a pixel is neither 0 nor 255."""
    return bool(((alpha > 0) & (alpha < 255)).any())


def decontaminate(
    image: Image, alpha: Alpha, near: tuple[Image, Image], rows: slice, size: tuple[int, int]
) -> None:
    """Remove the ground's share from the soft pixels of these rows of a picture, in place.

    `near`: the colours of subject and ground around each pixel of the whole (`near_colours`).
    `size`: (height, width) of the whole. Where alpha is 0 or 255, the image is unchanged.
    """
    soft = np.asarray(cv2.inRange(alpha, 1, 254), np.uint8)
    if not soft.any():
        return
    wide = [cv2.cvtColor(each, cv2.COLOR_RGB2RGBA).astype(np.float32) for each in near]
    for part in busy(soft):
        place = slice(rows.start + part[0].start, rows.start + part[0].stop), part[1]
        front, back = (np.rint(enlarged(each, place, size)) for each in wide)
        made = _fused(image[part], alpha[part], front, back)
        cv2.copyTo(made, soft[part], image[part])


def over_white(image: Image, alpha: Alpha) -> Image:
    """The image over white, where alpha shows it."""
    share = cv2.cvtColor(np.ascontiguousarray(alpha), cv2.COLOR_GRAY2RGB)
    ink = cv2.multiply(cv2.bitwise_not(image), share, scale=1 / 255)
    return np.asarray(cv2.bitwise_not(ink), np.uint8)


def cutout(image: Image, alpha: Alpha) -> Cutout:
    """RGBA with the foreground's colours; RGB is zero where alpha is zero."""
    return with_alpha(foreground(image, alpha), alpha)


def with_alpha(image: Image, alpha: Alpha) -> Cutout:
    """RGBA; RGB is zero where alpha is zero."""
    rgba = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    rgba[..., 3] = alpha
    return without_hidden_colour(rgba)


def without_hidden_colour(rgba: NDArray[Any]) -> Cutout:
    """RGBA with RGB zero where alpha is zero: what was removed must not be in a file."""
    return np.asarray(cv2.copyTo(rgba, cv2.extractChannel(rgba, 3)), np.uint8)


def _as_matte(alpha: NDArray[Any]) -> Matte:
    matte = alpha.astype(np.float32)
    return matte / 255 if alpha.dtype == np.uint8 else np.clip(matte, 0, 1)


def _radius(coarse: tuple[int, ...], work: tuple[int, ...], pixels: int) -> Radius:
    """A radius in pixels of the coarse matte, converted to the working size."""
    down, across = (
        max(2, round(pixels * new / old)) for new, old in zip(work, coarse, strict=True)
    )
    return down, across


def box_mean(array: NDArray[Any], radius: Radius) -> NDArray[Any]:
    """The mean over a box around each pixel, mirrored at the border."""
    size = (2 * radius[1] + 1, 2 * radius[0] + 1)
    return cv2.blur(array, size, borderType=cv2.BORDER_REFLECT)


def guided(
    guide: NDArray[Any], matte: Matte, radius: Radius, epsilon: float
) -> tuple[NDArray[Any], Matte]:
    """Per pixel the a and b of matte = a . colour + b: H x W x 3 and H x W, already averaged.

    `guide`: H x W x 3, 0..1. `epsilon`: smallest variance of it that counts as an edge.
    """
    mean_guide, mean_matte = box_mean(guide, radius), box_mean(matte, radius)
    covariance = box_mean(guide * matte[..., None], radius) - mean_guide * mean_matte[..., None]
    slopes = _solve(_variances(guide, mean_guide, radius, epsilon), covariance)
    offset = mean_matte - (slopes * mean_guide).sum(-1)
    return box_mean(slopes, radius), box_mean(offset, radius)


def _variances(
    guide: NDArray[Any], middle: NDArray[Any], radius: Radius, epsilon: float
) -> list[Matte]:
    """rr, rg, rb, gg, gb, bb of the colours' covariance matrix, with epsilon on its diagonal."""
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    products = [guide[..., i] * guide[..., j] for i, j in pairs]
    return [
        box_mean(product, radius) - middle[..., i] * middle[..., j] + (epsilon if i == j else 0)
        for product, (i, j) in zip(products, pairs, strict=True)
    ]


def _solve(variances: list[Matte], covariance: NDArray[Any]) -> NDArray[Any]:
    """Sigma^-1 . covariance per pixel, by the adjugate of the symmetric 3 x 3 matrix."""
    rr, rg, rb, gg, gb, bb = variances
    c_rr, c_rg, c_rb = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    c_gg, c_gb, c_bb = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    determinant = rr * c_rr + rg * c_rg + rb * c_rb
    red, green, blue = covariance[..., 0], covariance[..., 1], covariance[..., 2]
    rows = [
        c_rr * red + c_rg * green + c_rb * blue,
        c_rg * red + c_gg * green + c_gb * blue,
        c_rb * red + c_gb * green + c_bb * blue,
    ]
    return np.asarray(np.dstack(rows) / determinant[..., None], np.float32)


def stretched(slopes: NDArray[Any], offset: Matte) -> NDArray[Any]:
    """`guided`'s a and b as planes for `linear`, with _HAZE removed at both ends of the matte."""
    return planes_of(slopes, offset - np.float32(_HAZE)) / np.float32(1 - 2 * _HAZE)


def planes_of(slopes: NDArray[Any], offset: Matte) -> NDArray[Any]:
    """H x W x 4: a and b, for colours of 0..255. Four channels are enlarged faster than three."""
    return np.dstack([slopes, offset]) * np.float32(1 / 255)


def linear(image: Image, planes: NDArray[Any]) -> Matte:
    """a . colour (0..1) + b. `image`: H x W x 3; `planes`: H x W x 4, of `planes_of`."""
    colours = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA).astype(np.float32)  # the fourth is 255
    colours *= planes
    # Three times faster than cv2.transform, or a sum over the last axis.
    total: Matte = colours[..., 0] + colours[..., 1] + colours[..., 2] + colours[..., 3]
    return total


def as_bytes(matte: Matte) -> Alpha:
    """0..1 -> 0..255, rounded; what lies outside is clipped."""
    return np.asarray(cv2.convertScaleAbs(np.maximum(matte, 0), alpha=255), np.uint8)


def _sure(coarse: Matte, wide: Radius, narrow: Radius) -> Matte:
    """1 where the coarse matte is front in the whole neighbourhood, -1 where it is background,
    else 0. The neighbourhoods are so large that 1 is never beside -1."""
    far, near = (
        np.ones((2 * down + 1, 2 * across + 1), np.uint8) for down, across in (wide, narrow)
    )
    front, background = cv2.erode(coarse, near) > _SURE_HIGH, cv2.dilate(coarse, far) < _SURE_LOW
    return np.asarray(front, np.float32) - background


def _known(sure: Matte, height: int, width: int) -> tuple[Alpha, Alpha]:
    """(255 where all around is front, else 0; not 0 where a sample around a pixel is unsure)."""
    front = np.where(sure > 0, np.uint8(255), np.uint8(0))
    unsure = cv2.dilate((sure == 0).view(np.uint8), np.ones((3, 3), np.uint8))
    large, doubtful = (
        np.asarray(cv2.resize(each, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
        for each in (front, unsure)
    )
    return large, doubtful


def _settled(fine: Matte, sure: Matte) -> Matte:
    """Restore 0 and 1 where the coarse matte is sure."""
    front, rest = np.maximum(sure, 0), 1 + np.minimum(sure, 0)
    return np.asarray((fine + front * (1 - fine)) * rest, np.float32)


def _fused(image: Image, alpha: Alpha, front: NDArray[Any], back: NDArray[Any]) -> Image:
    """`_fuse` for H x W x 3 and an alpha of 0..255. `front` and `back` have a fourth channel that
    is not used: four are computed faster than three."""
    share = cv2.cvtColor(_as_matte(alpha), cv2.COLOR_GRAY2RGBA)
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    made = cv2.convertScaleAbs(_fuse(pixels, share, front, back))
    return np.asarray(cv2.cvtColor(made, cv2.COLOR_RGBA2RGB), np.uint8)


def _fuse(
    pixels: NDArray[Any], share: NDArray[Any], front: NDArray[Any], back: NDArray[Any]
) -> NDArray[Any]:
    """The front's colours, 0..255, with which front over back gives the pixels (Forte, equation
    4: front + share (pixels - share front - (1 - share) back)). All have the same shape."""
    fused: NDArray[Any] = pixels.astype(np.float32)
    fused -= back
    fused -= share * (front - back)
    fused *= share
    fused += front
    return np.clip(fused, 0, 255, out=fused)


def _shares(image: Image, alpha: Alpha) -> tuple[Image, Image]:
    """The parts of front and back in each pixel: image x alpha, and the rest."""
    front = cv2.multiply(image, cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB), scale=1 / 255)
    return np.asarray(front, np.uint8), np.asarray(cv2.subtract(image, front), np.uint8)


def near_colours(image: Image, alpha: Alpha) -> tuple[Image, Image]:
    """Colours of subject and ground around each pixel, longest side at most 512.

    Wide blurs, fused with the image, and blurred narrowly again.
    """
    height, width = geometry.fit(alpha.shape[0], alpha.shape[1], _NEAR_SIDE)
    pixels, small = (geometry.resize(each, height, width) for each in (image, alpha))
    front, back = (
        cv2.resize(colours, (width, height), interpolation=cv2.INTER_LINEAR)
        for colours in _wide_colours(pixels, small)
    )
    matte = cv2.cvtColor(_as_matte(small), cv2.COLOR_GRAY2RGB)
    front = _colour(matte * _fuse(pixels, matte, front, back), matte, _NEAR_RADIUS)
    rest = 1 - matte
    back = _colour(rest * back, rest, _NEAR_RADIUS)
    return front.astype(np.uint8), back.astype(np.uint8)


def _wide_colours(image: Image, alpha: Alpha) -> tuple[NDArray[Any], NDArray[Any]]:
    """Front and back colour around each pixel, from far enough away to include something sure.

    The shares are shrunk, not the colours, so neither leaks into the other.
    """
    height, width = geometry.fit(alpha.shape[0], alpha.shape[1], _WIDE_SIDE)
    front, back = (geometry.resize(share, height, width) for share in _shares(image, alpha))
    small = _as_matte(geometry.resize(alpha, height, width))
    matte = cv2.cvtColor(small, cv2.COLOR_GRAY2RGB)
    radius = (max(2, max(height, width) // _WIDE_PART),) * 2
    return _colour(front, matte, radius), _colour(back, 1 - matte, radius)


def _colour(share: NDArray[Any], weight: NDArray[Any], radius: Radius) -> NDArray[Any]:
    """The mean colour over a box, weighted by how much of it each pixel contains: H x W x 3."""
    mean = box_mean(share.astype(np.float32, copy=False), radius)
    mean /= box_mean(weight, radius) + np.float32(_LEAST_WEIGHT)
    return np.clip(mean, 0, 255, out=mean)
