"""The subject's colours at soft edges, without the background's share of them.

Everything uses box filters only, so the time depends on the pixels, not on the radius.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging import geometry
from tasks.imaging.alpha import Matte, Radius, as_matte, box_mean, with_alpha
from tasks.imaging.parts import busy, enlarged
from tasks.imaging.sizes import Sizes
from tasks.imaging.types import Alpha, Cutout, Image

Near = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Colours of subject and ground, H x W x 4, 0..255; the fourth channel is not used."""

_WIDE_SIDE, _WIDE_PART = 256, 16
"""Size at which the wide blur is computed; that size divided by its radius."""
_NEAR_SIDE, _NEAR_RADIUS = 512, (2, 2)
"""Size at which the narrow blur is computed, and its radius."""
_LEAST_WEIGHT = 1e-3
_TILE = (64, 32)
"""Rows and columns that are worked on together where there is a soft edge."""


def foreground(image: Image, alpha: Alpha) -> Image:
    """The foreground's colours: at soft edges, the background's share is removed.

    Blur fusion in two passes (Forte, ICIP 2021), with the blurs at a smaller size. Where alpha is 0
    or 255, the image is unchanged.
    """
    if not is_soft(alpha):
        return image
    height, width = alpha.shape
    made = image.copy()
    near = four_channels(near_colours(image, alpha))
    decontaminate(made, alpha, near, slice(0, height), (height, width))
    return made


def is_soft(alpha: Alpha) -> bool:
    """Whether a pixel is neither 0 nor 255."""
    return bool(((alpha > 0) & (alpha < 255)).any())


def decontaminate(
    image: Image, alpha: Alpha, near: Near, rows: slice, size: tuple[int, int]
) -> None:
    """Remove the ground's share from the soft pixels of these rows of a picture, in place.

    `near`: `four_channels` of the whole picture's `near_colours`.
    `size`: (height, width) of the whole. Where alpha is 0 or 255, the image is unchanged.
    """
    soft = np.asarray(cv2.inRange(alpha, 1, 254), np.uint8)
    if not soft.any():
        return
    for part in busy(soft, _TILE):
        place = slice(rows.start + part[0].start, rows.start + part[0].stop), part[1]
        front, back = (enlarged(each, place, size) for each in near)
        for colours in (front, back):
            np.rint(colours, out=colours)
        made = _fused(image[part], alpha[part], front, back)
        cv2.copyTo(made, soft[part], image[part])


def cutout(image: Image, alpha: Alpha) -> Cutout:
    """RGBA with the foreground's colours; RGB is zero where alpha is zero."""
    return with_alpha(foreground(image, alpha), alpha)


def _fused(image: Image, alpha: Alpha, front: NDArray[Any], back: NDArray[Any]) -> Image:
    """`_fuse` for H x W x 3 and an alpha of 0..255. `front` and `back` have a fourth channel that
    is not used: four are computed faster than three."""
    share = cv2.cvtColor(as_matte(alpha), cv2.COLOR_GRAY2RGBA)
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


def four_channels(near: tuple[Image, Image]) -> Near:
    """`near_colours` as `decontaminate` needs them, once for all parts of a picture."""
    front, back = (cv2.cvtColor(each, cv2.COLOR_RGB2RGBA).astype(np.float32) for each in near)
    return front, back


def _shares(image: Image, alpha: Alpha) -> tuple[Image, Image]:
    """The parts of front and back in each pixel: image x alpha, and the rest."""
    front = cv2.multiply(image, cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB), scale=1 / 255)
    return np.asarray(front, np.uint8), np.asarray(cv2.subtract(image, front), np.uint8)


def near_colours(image: Image, alpha: Alpha) -> tuple[Image, Image]:
    """Colours of subject and ground around each pixel, longest side at most 512.

    Wide blurs, fused with the image, and blurred narrowly again.
    """
    pixels, small = (Sizes(each).about(_NEAR_SIDE) for each in (image, alpha))
    height, width = small.shape
    front, back = (
        cv2.resize(colours, (width, height), interpolation=cv2.INTER_LINEAR)
        for colours in _wide_colours(pixels, small)
    )
    share = as_matte(small)
    matte = cv2.cvtColor(share, cv2.COLOR_GRAY2RGB)
    front = _colour(matte * _fuse(pixels, matte, front, back), share, _NEAR_RADIUS)
    back = _colour((1 - matte) * back, 1 - share, _NEAR_RADIUS)
    return front.astype(np.uint8), back.astype(np.uint8)


def _wide_colours(image: Image, alpha: Alpha) -> tuple[NDArray[Any], NDArray[Any]]:
    """Front and back colour around each pixel, from far enough away to include something sure.

    The shares are shrunk, not the colours, so neither leaks into the other.
    """
    height, width = geometry.fit(alpha.shape[0], alpha.shape[1], _WIDE_SIDE)
    front, back = (geometry.resize(share, height, width) for share in _shares(image, alpha))
    matte = as_matte(geometry.resize(alpha, height, width))
    radius = (max(2, max(height, width) // _WIDE_PART),) * 2
    return _colour(front, matte, radius), _colour(back, 1 - matte, radius)


def _colour(share: NDArray[Any], weight: Matte, radius: Radius) -> NDArray[Any]:
    """The mean colour over a box, weighted by how much of it each pixel contains: H x W x 3."""
    mean = box_mean(share.astype(np.float32, copy=False), radius)
    weights = box_mean(weight, radius) + np.float32(_LEAST_WEIGHT)
    mean /= cv2.cvtColor(weights, cv2.COLOR_GRAY2RGB)
    return np.clip(mean, 0, 255, out=mean)
