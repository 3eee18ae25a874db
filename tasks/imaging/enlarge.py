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
_TILE = 512
"""Columns that are refined at once, where there is anything soft in them."""
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
        rows = slice(top, top + len(photo))
        if self.alpha.shape == (self.height, self.width):
            return self.alpha[rows].copy()
        whole = slice(0, self.width)
        plain = enlarged(self.alpha, (rows, whole), self._size)
        for left in range(0, self.width, _TILE):
            columns = slice(left, min(left + _TILE, self.width))
            self._refine(plain[:, columns], (rows, columns), photo[:, columns])
        return plain

    @property
    def _size(self) -> tuple[int, int]:
        return self.height, self.width

    def _refine(self, plain: Alpha, part: "Part", photo: Image) -> None:
        """Where the matte is soft in this part of the large photo, follow the photo's colours."""
        window = self._window(part)
        matte = self.alpha[window]
        soft = _soft(matte)
        if not soft.any():
            return
        guide = self.guide[window].astype(np.float32) / 255
        slopes, offset = mattes.guided(guide, matte.astype(np.float32) / 255, _RADIUS, _EPSILON)
        planes = np.dstack([soft.astype(np.float32), offset, slopes])
        large = enlarged(planes, part, self._size, self.alpha.shape, window)
        fine = large[..., 1] + (large[..., 2:] * (photo / np.float32(255))).sum(-1)
        settled = (fine - _HAZE) / (1 - 2 * _HAZE)
        settled = np.clip(settled * 255 + 0.5, 0, 255).astype(np.uint8)
        np.copyto(plain, settled, where=large[..., 0] > 127)

    def _window(self, part: "Part") -> "Part":
        """The part of the small pictures on which this part of the large one depends."""
        rows, columns = (
            slice(
                max(0, math.floor(span.start * small / large) - _PAD),
                min(small, math.ceil(span.stop * small / large) + _PAD),
            )
            for span, small, large in zip(part, self.alpha.shape, self._size, strict=True)
        )
        return rows, columns


Part = tuple[slice, slice]
"""Rows and columns."""


def enlarged(
    small: Pixels,
    part: Part,
    size: tuple[int, int],
    total: tuple[int, ...] | None = None,
    window: Part = (slice(0), slice(0)),
) -> Pixels:
    """A part of a small picture that is enlarged to `size`, (height, width).

    The values are those of cv2.resize with INTER_LINEAR of the whole: pixel centres, clamped at the
    border. `small`: the picture, or its `window`, as large as is needed; `total`: the shape of all
    of it.
    """
    if part == (slice(0, size[0]), slice(0, size[1])) and total is None:
        return cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR)
    height, width = total[:2] if total else small.shape[:2]
    above, below, down = _between(part[0], size[0], height, window[0].start or 0, small.shape[0])
    before, after, across = _between(part[1], size[1], width, window[1].start or 0, small.shape[1])
    first, last = above[0], below[-1] + 1
    block = small[first:last].astype(np.float32)
    if block.ndim == 3:
        across, down = across[:, None], down[:, None]
    block = block[:, before] * (1 - across) + block[:, after] * across
    down = down[:, None]
    mixed: Pixels = block[above - first] * (1 - down) + block[below - first] * down
    return np.rint(mixed).astype(np.uint8) if small.dtype == np.uint8 else mixed


def _between(
    span: slice, large: int, small: int, offset: int, count: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
    """For each place of the span the two samples around it, and the second one's share."""
    at = (np.arange(span.start, span.stop) + 0.5) * (small / large) - 0.5 - offset
    at = np.clip(at, 0, count - 1)
    low = np.floor(at).astype(int)
    return low, np.minimum(low + 1, count - 1), (at - low).astype(np.float32)


def _soft(alpha: Alpha) -> Alpha:
    """255 near pixels that are neither 0 nor 255, or where both meet."""
    least, most = cv2.erode(alpha, _AROUND), cv2.dilate(alpha, _AROUND)
    return np.where((most > 0) & (least < 255) & (most > least), 255, 0).astype(np.uint8)
