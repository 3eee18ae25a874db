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
    down, across = tile
    starts = np.arange(0, mask.shape[1], across)
    rows = [mask[top : top + down].max(0) for top in range(0, mask.shape[0], down)]
    return _joined(np.maximum.reduceat(rows, starts, axis=1) > 0, mask.shape, tile)


def busy_below(mask: Alpha, size: tuple[int, int], tile: tuple[int, int] = _TILE) -> Iterator[Part]:
    """`busy` of a small mask that is enlarged to `size`, (height, width), each pixel to a block."""
    above, below = _below(mask.shape[0], size[0], tile[0])
    first, last = _below(mask.shape[1], size[1], tile[1])
    counts = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    np.cumsum(np.cumsum(mask > 0, 0), 1, out=counts[1:, 1:])
    rows = counts[below] - counts[above]
    return _joined(rows[:, last] > rows[:, first], size, tile)


def _below(small: int, large: int, tile: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the tiles of a side begin and end in the smaller one that lies below."""
    starts = np.arange(0, large, tile)
    return starts * small // large, (np.minimum(starts + tile, large) - 1) * small // large + 1


def _joined(
    tiles: NDArray[np.bool_], size: tuple[int, ...], tile: tuple[int, int]
) -> Iterator[Part]:
    """The tiles that are true, neighbours of a row together."""
    (height, width), (down, across) = size[:2], tile
    padded = np.zeros((tiles.shape[0], tiles.shape[1] + 2), np.bool_)
    padded[:, 1:-1] = tiles
    rows, ends = (places.tolist() for places in np.nonzero(padded[:, 1:] != padded[:, :-1]))
    for row, first, last in zip(rows[::2], ends[::2], ends[1::2], strict=True):
        top, left = row * down, first * across
        yield slice(top, min(top + down, height)), slice(left, min(last * across, width))


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
