"""Parts of a picture: where there is something to do, and what a small picture has there."""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging.geometry import Pixels
from tasks.imaging.types import Alpha

Part = tuple[slice, slice]
"""Rows and columns."""
_TILE = (64, 64)
"""Rows and columns: small enough to follow an outline, large enough to be worth a call."""


def busy(mask: Alpha, tile: tuple[int, int] = _TILE) -> Iterator[Part]:
    """Parts that together have every pixel of H x W that is not 0: tiles, joined along rows."""
    height, width = mask.shape
    down, across = tile
    starts = np.arange(0, width, across)
    for top in range(0, height, down):
        rows = slice(top, min(top + down, height))
        tiles = np.maximum.reduceat(mask[rows].max(0), starts) > 0
        for columns in _joined(tiles, across, width):
            yield rows, columns


def busy_below(mask: Alpha, size: tuple[int, int], tile: tuple[int, int] = _TILE) -> Iterator[Part]:
    """`busy` of a small mask that is enlarged to `size`, (height, width), each pixel to a block."""
    (height, width), (down, across) = size, tile
    lefts = np.arange(0, width, across)
    first = lefts * mask.shape[1] // width
    last = (np.minimum(lefts + across, width) - 1) * mask.shape[1] // width
    for top in range(0, height, down):
        rows = slice(top, min(top + down, height))
        above, below = (y * mask.shape[0] // height for y in (top, rows.stop - 1))
        counts = np.cumsum(mask[above : below + 1].any(0), dtype=np.int64)
        tiles = counts[last] > np.where(first > 0, counts[first - 1], 0)
        for columns in _joined(tiles, across, width):
            yield rows, columns


def _joined(tiles: NDArray[np.bool_], across: int, width: int) -> Iterator[slice]:
    """The columns of a row of tiles that are true, neighbours together."""
    ends = np.flatnonzero(np.diff(tiles, prepend=False, append=False))
    for first, last in ends.reshape(-1, 2) * across:
        yield slice(int(first), min(int(last), width))


def enlarged(
    small: Pixels,
    part: Part,
    size: tuple[int, int],
    total: tuple[int, ...] | None = None,
    window: Part = (slice(0), slice(0)),
) -> Pixels:
    """A part of a small picture that is enlarged to `size`, (height, width).

    The values are those of cv2.resize with INTER_LINEAR of the whole: pixel centres, clamped at the
    border. `small`: H' x W', or with 3 or 4 channels (4 take a third of the time of 3), uint8 or
    float32: the picture, or its `window`, as large as is needed; `total`: the shape of all of it.
    """
    is_whole = part == (slice(0, size[0]), slice(0, size[1])) and total is None
    if is_whole and small.dtype == np.uint8:
        return cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR)
    shape = total[:2] if total else small.shape[:2]
    down, above, rows = _sampling(part[0], size[0], shape[0], window[0], small.shape[0])
    across, before, columns = _sampling(part[1], size[1], shape[1], window[1], small.shape[1])
    block = small[rows, columns].astype(np.float32, copy=False)
    mixed: Pixels = cv2.warpAffine(
        block,
        np.array([[across, 0, before], [0, down, above]]),
        (part[1].stop - part[1].start, part[0].stop - part[0].start),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.rint(mixed).astype(np.uint8) if small.dtype == np.uint8 else mixed


def _sampling(
    span: slice, large: int, small: int, window: slice, count: int
) -> tuple[float, float, slice]:
    """(step, start, samples): where the places of the span lie in these samples of the window."""
    step = small / large
    start = (span.start + 0.5) * step - 0.5 - (window.start or 0)
    last = start + (span.stop - span.start - 1) * step
    first = min(max(int(np.floor(start)), 0), count - 1)
    end = min(max(int(np.floor(last)) + 2, first + 1), count)
    return step, start - first, slice(first, end)
