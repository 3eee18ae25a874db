"""From a coarse matte to a cut-out: edges that follow the photo, colours without the background.

Everything is float32 and uses box filters only, so the time depends on the pixels, not the radius.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging import geometry
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
    guide = geometry.resize(image, work_height, work_width).astype(np.float32) / 255
    wide, narrow = (
        _radius(alpha.shape[:2], coarse.shape, pixels) for pixels in (_RADIUS, _SOLID_RADIUS)
    )
    slopes, offset = guided(guide, coarse, wide, _EPSILON)
    fine = linear(image, slopes, offset)
    return _settle(fine, coarse, wide, narrow)


def foreground(image: Image, alpha: Alpha) -> Image:
    """The foreground's colours: at soft edges, the background's share is removed.

    Blur fusion in two passes (Forte, ICIP 2021), with the blurs at a smaller size. Where alpha is 0
    or 255, the image is unchanged.
    """
    if not is_soft(alpha):
        return image
    height, width = alpha.shape
    front, back = (
        cv2.resize(colours, (width, height), interpolation=cv2.INTER_LINEAR)
        for colours in near_colours(image, alpha)
    )
    return fused(image, alpha, front, back)


def is_soft(alpha: Alpha) -> bool:
    """Whether a pixel is neither 0 nor 255."""
    return bool(((alpha > 0) & (alpha < 255)).any())


def fused(image: Image, alpha: Alpha, front: NDArray[Any], back: NDArray[Any]) -> Image:
    """The image with the back's share removed where alpha is neither 0 nor 255.

    `front`, `back`: the colours of subject and ground around each pixel (`near_colours`), at the
    image's size.
    """
    soft = (alpha > 0) & (alpha < 255)
    made = image.copy()
    share = alpha[soft].astype(np.float32) / 255
    made[soft] = _fuse(image[soft], share, front[soft], back[soft]) + 0.5
    return made


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
    return without_hidden_colour(cv2.merge([*cv2.split(image), alpha]))


def without_hidden_colour(rgba: NDArray[Any]) -> Cutout:
    """RGBA with RGB zero where alpha is zero: what was removed must not be in a file."""
    shown = (rgba[..., 3] > 0).view(np.uint8)
    return np.asarray(cv2.bitwise_and(rgba, rgba, mask=shown), np.uint8)


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


def linear(image: Image, slopes: NDArray[Any], offset: Matte) -> Matte:
    """slopes . colour (0..1) + offset at the image's size; both have the smaller size H' x W'."""
    height, width = image.shape[:2]
    size = (width, height)
    fine: Matte = cv2.resize(offset, size, interpolation=cv2.INTER_LINEAR)
    for channel in range(3):
        slope = cv2.resize(slopes[..., channel] / 255, size, interpolation=cv2.INTER_LINEAR)
        fine = fine + slope * image[..., channel]
    return fine


def _settle(fine: Matte, coarse: Matte, wide: Radius, narrow: Radius) -> Alpha:
    """Restore 0 and 1 where the coarse matte is sure in the whole neighbourhood."""
    far, near = (
        np.ones((2 * down + 1, 2 * across + 1), np.uint8) for down, across in (wide, narrow)
    )
    low: Matte = (cv2.dilate(coarse, far) < _SURE_LOW).astype(np.float32)
    high: Matte = (cv2.erode(coarse, near) > _SURE_HIGH).astype(np.float32)
    size = (fine.shape[1], fine.shape[0])
    background, front = (
        cv2.resize(sure, size, interpolation=cv2.INTER_LINEAR) for sure in (low, high)
    )
    settled = (fine - _HAZE) / (1 - 2 * _HAZE)
    settled = (settled + front * (1 - settled)) * (1 - background)
    return np.asarray(np.clip(settled * 255 + 0.5, 0, 255), np.uint8)


def _fuse(
    pixels: NDArray[Any], matte: NDArray[Any], front: NDArray[Any], back: NDArray[Any]
) -> NDArray[Any]:
    """The front's colours, 0..255, with which front over back gives the pixels (Forte, equation
    4)."""
    share = matte[..., None]
    fused = front + share * (pixels - share * front - (1 - share) * back)
    return np.asarray(np.clip(fused, 0, 255), np.float32)


def _shares(image: Image, alpha: Alpha) -> tuple[Image, Image]:
    """The parts of front and back in each pixel: image x alpha, and the rest."""
    front = cv2.multiply(image, cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB), scale=1 / 255)
    return np.asarray(front, np.uint8), np.asarray(cv2.subtract(image, front), np.uint8)


def _wide_colours(image: Image, alpha: Alpha) -> tuple[NDArray[Any], NDArray[Any]]:
    """Front and back colour around each pixel, from far enough away to include something sure.

    The shares are shrunk, not the colours, so neither leaks into the other.
    """
    height, width = geometry.fit(alpha.shape[0], alpha.shape[1], _WIDE_SIDE)
    front, back = (geometry.resize(share, height, width) for share in _shares(image, alpha))
    matte = _as_matte(geometry.resize(alpha, height, width))
    radius = (max(2, max(height, width) // _WIDE_PART),) * 2
    return _colour(front, matte, radius), _colour(back, 1 - matte, radius)


def near_colours(image: Image, alpha: Alpha) -> tuple[Image, Image]:
    """Colours of subject and ground around each pixel, longest side at most 512.

    Wide blurs, fused with the image, and blurred narrowly again.
    """
    height, width = geometry.fit(alpha.shape[0], alpha.shape[1], _NEAR_SIDE)
    wide_front, wide_back = _wide_colours(image, alpha)
    pixels, matte = geometry.resize(image, height, width), _as_matte(alpha)
    matte = geometry.resize(matte, height, width)
    back = cv2.resize(wide_back, (width, height), interpolation=cv2.INTER_LINEAR)
    front = cv2.resize(wide_front, (width, height), interpolation=cv2.INTER_LINEAR)
    front = _fuse(pixels, matte, front, back)
    front = _colour(front * matte[..., None], matte, _NEAR_RADIUS)
    back = _colour(back * (1 - matte[..., None]), 1 - matte, _NEAR_RADIUS)
    return front.astype(np.uint8), back.astype(np.uint8)


def _colour(share: NDArray[Any], weight: NDArray[Any], radius: Radius) -> NDArray[Any]:
    """The mean colour over a box, weighted by how much of it each pixel contains."""
    total = box_mean(weight, radius)[..., None] + _LEAST_WEIGHT
    return np.clip(box_mean(share.astype(np.float32), radius) / total, 0, 255)
