"""Sizes and shapes: fit, resize, letterbox, padding, orientation. Array in, array out."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging.types import Image

Pixels = NDArray[Any]
"""H x W or H x W x C, uint8 or float32."""

_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: lambda image: cv2.transpose(image),
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.rotate(cv2.transpose(image), cv2.ROTATE_180),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
"""EXIF orientation -> the function that makes an image upright."""

_LEAST_SIZE = 2**18
"""Values of a picture from which a product of matrices is worth its calls."""
_BAND_ROWS = 4
"""Rows of the target that are computed at once; BLAS shares out larger products among threads."""


@dataclass(frozen=True)
class Mapping:
    """Where an image lies in its letterbox: target = source * scale + (left, top)."""

    scale: float
    top: int
    left: int
    source_height: int
    source_width: int
    inner_height: int
    """Size of the source inside the letterbox."""
    inner_width: int

    def boxes(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """N x 4 (x1, y1, x2, y2) in pixels of the source -> the same in the letterbox."""
        return np.asarray(boxes * self._factors() + self._offsets(), np.float32)

    def boxes_back(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """N x 4 (x1, y1, x2, y2) in the letterbox -> in pixels of the source, clipped to it."""
        back = (boxes - self._offsets()) / self._factors()
        width, height = self.source_width, self.source_height
        return np.asarray(np.clip(back, 0, [width, height] * 2), np.float32)

    def crop(self, letterboxed: Pixels) -> Pixels:
        """The source's part of a letterboxed array, as a view."""
        bottom, right = self.top + self.inner_height, self.left + self.inner_width
        return letterboxed[self.top : bottom, self.left : right]

    def _factors(self) -> NDArray[np.float32]:
        # The inner size is rounded to whole pixels, so each axis has a factor near `scale`.
        across = self.inner_width / self.source_width
        down = self.inner_height / self.source_height
        return np.array([across, down] * 2, np.float32)

    def _offsets(self) -> NDArray[np.float32]:
        return np.array([self.left, self.top] * 2, np.float32)


def fit(height: int, width: int, max_side: int) -> tuple[int, int]:
    """(height, width) with the longer side at most `max_side`; never enlarged, at least 1."""
    scale = min(1.0, max_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(image: Pixels, height: int, width: int, *, spare: bool = False) -> Pixels:
    """Area averaging where it shrinks, cubic where it grows; values stay within their range.

    `spare`: the caller no longer needs `image`, so it may be overwritten. New memory for a copy of
    a large image costs as much as the averaging itself.
    """
    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    if shrinks:
        return _shrink(image, height, width, spare)
    grown = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(grown, image.min(), image.max()) if image.dtype != np.uint8 else grown


def _shrink(image: Pixels, height: int, width: int, spare: bool) -> Pixels:
    """Area averaging. Where a box of whole pixels has nearly the right size, its mean is used.

    That is four times faster; sampled between pixels it is within 1 dB of INTER_AREA and aliases
    less.
    """
    boxes = _box(image.shape[0], height), _box(image.shape[1], width)
    if None in boxes or boxes == (1, 1):
        return area_means(image, height, width)
    down, across = boxes
    into = image if spare else None
    means = cv2.blur(image, (across or 1, down or 1), into, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(means, (width, height), interpolation=cv2.INTER_LINEAR)


def area_means(
    image: Pixels, height: int, width: int, extent: tuple[float, float] | None = None
) -> Pixels:
    """What cv2.resize gives with INTER_AREA. OpenCV is quick where both ratios are whole numbers;
    elsewhere a product of matrices shrinks the rows in half its time. It rounds a few pixels in
    100,000 the other way.

    `extent`: (height, width) of what the image shows, in its pixels, where that is a part of a
    pixel more than it has: halves leave an odd row or column out.
    """
    rows, columns = image.shape[:2]
    down, across = extent or (rows, columns)
    is_whole = down % height == 0 and across % width == 0
    fx = width / across
    if is_whole or image.dtype != np.uint8 or rows < 2 * height or image.size < _LEAST_SIZE:
        return cv2.resize(image, None, fx=fx, fy=height / down, interpolation=cv2.INTER_AREA)
    flat, channels = image.reshape(rows, -1), image.shape[2:]
    means = np.empty((height, width, *channels), np.uint8)
    for into, sources, weights in _bands(rows, height, down):
        band = (weights @ flat[sources].astype(np.float32)).reshape(-1, columns, *channels)
        narrow = cv2.resize(band, None, fx=fx, fy=1, interpolation=cv2.INTER_AREA)
        means[into] = cv2.convertScaleAbs(narrow).reshape(means[into].shape)
    return means


@lru_cache(64)
def _bands(
    source: int, target: int, extent: float
) -> list[tuple[slice, slice, NDArray[np.float32]]]:
    """Some rows of the target, the source's rows under them, and how much of each they cover."""
    ratio = extent / target
    starts = ratio * np.arange(target)
    tops = np.arange(0, target, _BAND_ROWS)
    first = np.floor(starts[tops]).astype(int)
    ends = starts[np.minimum(tops + _BAND_ROWS, target) - 1] + ratio
    last = np.minimum(np.ceil(ends).astype(int), source)
    band = np.arange(target) // _BAND_ROWS
    places = first[band, None] + np.arange((last - first).max())
    above, below = starts[:, None], starts[:, None] + ratio
    covered = np.minimum(below, np.minimum(places + 1, source)) - np.maximum(above, places)
    covered = np.maximum(covered, 0)
    weights = (covered / covered.sum(1, keepdims=True)).astype(np.float32)
    return [
        (
            slice(top, top + _BAND_ROWS),
            slice(start, end),
            weights[top : top + _BAND_ROWS, : end - start],
        )
        for top, start, end in zip(tops.tolist(), first.tolist(), last.tolist(), strict=True)
    ]


def halved(image: Pixels) -> Pixels:
    """Means of 2 x 2 pixels, without an odd last row or column: a tenth of the time that any other
    ratio takes."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    even = image[: 2 * height, : 2 * width]
    return cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)


def _box(source: int, target: int) -> int | None:
    """The odd side of the box that fits source / target to within an eighth; None if none does."""
    ratio = source / target
    side = max(1, 2 * round((ratio - 1) / 2) + 1)
    return side if ratio == 1 or side > 1 and abs(ratio / side - 1) <= 0.125 else None


def mapping_of(source_height: int, source_width: int, height: int, width: int) -> Mapping:
    """Where `letterbox` puts an image of the source's size."""
    scale = min(height / source_height, width / source_width)
    inner_height = min(height, max(1, round(source_height * scale)))
    inner_width = min(width, max(1, round(source_width * scale)))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    return Mapping(scale, top, left, source_height, source_width, inner_height, inner_width)


def letterbox(image: Image, height: int, width: int, grey: int = 114) -> tuple[Image, Mapping]:
    """The whole image in the middle of height x width, aspect kept, the rest filled with grey."""
    mapping = mapping_of(image.shape[0], image.shape[1], height, width)
    boxed = np.full((height, width, *image.shape[2:]), grey, image.dtype)
    mapping.crop(boxed)[:] = resize(image, mapping.inner_height, mapping.inner_width)
    return boxed, mapping


def upright(image: Pixels, orientation: int) -> Pixels:
    """The image as it is meant to be seen. EXIF orientations other than 1..8 change nothing."""
    make_upright = _UPRIGHT.get(orientation)
    return make_upright(image) if make_upright else image


def stored_box(
    box: tuple[int, int, int, int], size: tuple[int, int], orientation: int
) -> tuple[int, int, int, int]:
    """Where a box (left, top, right, bottom) of the upright image lies in the file.

    `size`: (height, width) of the upright image. `upright` of the stored box gives the box.
    """
    left, top, right, bottom = box
    height, width = size
    if orientation in (3, 4, 7, 8):
        top, bottom = height - bottom, height - top
    if orientation in (2, 3, 6, 7):
        left, right = width - right, width - left
    return (top, left, bottom, right) if is_turned(orientation) else (left, top, right, bottom)


def is_turned(orientation: int) -> bool:
    """Whether `upright` swaps width and height."""
    return orientation in (5, 6, 7, 8)


def scale_of(height: int, width: int, max_side: int) -> int:
    """The largest of 1, 2, 4, 8 by which a decoder may shrink and still leave 2 x `max_side`."""
    room = max(height, width) / (2 * max_side)
    return 2 ** min(3, max(0, math.floor(math.log2(room)))) if room >= 1 else 1
