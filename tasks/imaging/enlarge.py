"""Makes a matte as large as the upload, strip by strip, along the edges of the full-size photo.

Around soft edges the matte is a local linear function of the small photo's colours (guided filter:
He, Sun, Tang, PAMI 2013), which is then evaluated on the large photo's colours. Each strip is
computed from the small pictures alone, so strips meet without seams.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging import alpha as mattes
from tasks.imaging.geometry import Pixels
from tasks.imaging.types import Alpha, Image

_RADIUS = (2, 2)
"""Of the filter, in pixels of the small photo."""
_EPSILON = 1e-4
"""Smallest variance of the guide (0..1, squared) that counts as an edge."""
_HAZE = 0.02
"""What the filter leaves beside an edge on a flat side; removed at both ends."""
_AROUND = np.ones((5, 5), np.uint8)
"""Neighbourhood in which the matte must be sure to be left as it is."""
_PAD = 2 * _RADIUS[0] + 2
"""Rows above and below that a strip depends on."""


@dataclass(frozen=True)
class Enlarger:
    """A small matte and its photo, and the size that is wanted."""

    alpha: Alpha
    """H' x W'."""
    guide: Image
    """H' x W' x 3, in the colour space of the large photo."""
    height: int
    width: int

    def strip(self, top: int, photo: Image) -> Alpha:
        """The matte of the rows of the large photo from `top` on; `photo`: those rows, W wide."""
        bottom = top + len(photo)
        if self.alpha.shape == (self.height, self.width):
            return self.alpha[top:bottom].copy()
        plain = self.rows(self.alpha, top, bottom)
        window = self._window(top, bottom)
        soft = _soft(self.alpha[window])
        if not soft.any():
            return plain
        here = np.asarray(self.rows(soft, top, bottom, window.start) > 127)
        left, right = _ends(np.asarray(here.any(0)))
        fine = self._guided(window, top, photo, left, right)
        np.copyto(plain[:, left:right], fine, where=here[:, left:right])
        return plain

    def rows(self, small: Pixels, top: int, bottom: int, offset: int = 0) -> Pixels:
        """Rows of `small` enlarged to height x width, as cv2.resize with INTER_LINEAR makes them.

        `small`: some rows of a picture of the matte's size, from `offset` on.
        """
        total = self.alpha.shape[0]
        return enlarged_rows(small, top, bottom, (self.height, self.width), total, offset)

    def _window(self, top: int, bottom: int) -> slice:
        """The rows of the small pictures on which these rows of the large one depend."""
        total = self.alpha.shape[0]
        scale = total / self.height
        first, last = math.floor(top * scale) - _PAD, math.ceil(bottom * scale) + _PAD
        return slice(max(0, first), min(total, last))

    def _guided(self, window: slice, top: int, photo: Image, left: int, right: int) -> Alpha:
        """slopes . colour + offset, in the columns from `left` to `right`."""
        guide = self.guide[window].astype(np.float32) / 255
        matte = self.alpha[window].astype(np.float32) / 255
        slopes, offset = mattes.guided(guide, matte, _RADIUS, _EPSILON)
        bottom = top + len(photo)
        fine = self.rows(offset, top, bottom, window.start)[:, left:right]
        for channel in range(3):
            slope = self.rows(slopes[..., channel], top, bottom, window.start)[:, left:right]
            fine = fine + slope * (photo[:, left:right, channel] / np.float32(255))
        settled = (fine - _HAZE) / (1 - 2 * _HAZE)
        return np.clip(settled * 255 + 0.5, 0, 255).astype(np.uint8)


def enlarged_rows(
    small: Pixels, top: int, bottom: int, size: tuple[int, int], total: int, offset: int = 0
) -> Pixels:
    """Rows from `top` to `bottom` of a picture of `total` rows, enlarged to (height, width).

    `small`: rows of that picture from `offset` on, as many as are needed. The values are those of
    cv2.resize with INTER_LINEAR of the whole: pixel centres, clamped at the border.
    """
    height, width = size
    at = (np.arange(top, bottom) + 0.5) * (total / height) - 0.5 - offset
    at = np.clip(at, 0, len(small) - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, len(small) - 1)
    first, last = low[0], high[-1] + 1
    block = small[first:last].astype(np.float32)
    wide = cv2.resize(block, (width, last - first), interpolation=cv2.INTER_LINEAR)
    share = (at - low).astype(np.float32).reshape(-1, *[1] * (wide.ndim - 1))
    mixed: Pixels = wide[low - first] * (1 - share) + wide[high - first] * share
    return np.rint(mixed).astype(np.uint8) if small.dtype == np.uint8 else mixed


def _soft(alpha: Alpha) -> Alpha:
    """255 near pixels that are neither 0 nor 255, or where both meet."""
    least, most = cv2.erode(alpha, _AROUND), cv2.dilate(alpha, _AROUND)
    return np.where((most > 0) & (least < 255) & (most > least), 255, 0).astype(np.uint8)


def _ends(columns: NDArray[Any]) -> tuple[int, int]:
    """The first column that is true, and the one behind the last."""
    true = np.flatnonzero(columns)
    return (int(true[0]), int(true[-1]) + 1) if true.size else (0, 0)
