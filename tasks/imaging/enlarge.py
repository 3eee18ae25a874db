"""Makes a matte as large as the upload, strip by strip, along the edges of the full-size photo.

Around soft edges the matte is a local linear function of the small photo's colours (guided filter:
He, Sun, Tang, PAMI 2013), which is then evaluated on the large photo's colours. Each strip is
computed from the small pictures alone, so strips meet without seams.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from tasks.imaging import alpha as mattes
from tasks.imaging.parts import Part, enlarged
from tasks.imaging.types import Alpha, Image

_RADIUS = (2, 2)
"""Of the filter, in pixels of the small photo."""
_EPSILON = 1e-4
"""Smallest variance of the guide (0..1, squared) that counts as an edge."""
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

    def _refine(self, plain: Alpha, part: Part, photo: Image) -> None:
        """Where the matte is soft in this part of the large photo, follow the photo's colours."""
        window = self._window(part)
        matte = self.alpha[window]
        soft = _soft(matte)
        if not soft.any():
            return
        guide = self.guide[window].astype(np.float32) / 255
        ours = mattes.guided(guide, matte.astype(np.float32) / 255, _RADIUS, _EPSILON)
        planes, near = (
            enlarged(small, part, self._size, self.alpha.shape, window)
            for small in (mattes.stretched(*ours), soft.astype(np.float32))
        )
        settled = mattes.as_bytes(mattes.linear(photo, planes))
        np.copyto(plain, settled, where=near > 127)

    def _window(self, part: Part) -> Part:
        """The part of the small pictures on which this part of the large one depends."""
        rows, columns = (
            slice(
                max(0, math.floor(span.start * small / large) - _PAD),
                min(small, math.ceil(span.stop * small / large) + _PAD),
            )
            for span, small, large in zip(part, self.alpha.shape, self._size, strict=True)
        )
        return rows, columns


def _soft(alpha: Alpha) -> Alpha:
    """255 near pixels that are neither 0 nor 255, or where both meet."""
    least, most = cv2.erode(alpha, _AROUND), cv2.dilate(alpha, _AROUND)
    return np.where((most > 0) & (least < 255) & (most > least), 255, 0).astype(np.uint8)
