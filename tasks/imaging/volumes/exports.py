"""Reads pictures that a viewer exported: grey values of a window that nobody knows."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging.volumes.body import AIR
from tasks.imaging.volumes.names import natural
from tasks.imaging.volumes.sentences import Refused

Grey = NDArray[np.float32]

TISSUE_HU = 40
"""Of muscle and blood, the most frequent bright value of a chest."""
MOST_PIXELS = 4096 * 4096
MASK_VALUES, MASK_SHARE = 4, 1 / 3
"""A picture of no more values than this is a mask, where so many pictures are such; a slice that is
empty has few values too."""
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


def is_picture(start: bytes) -> bool:
    """Whether bytes begin as a PNG or JPEG does."""
    return start.startswith(_MAGIC)


def in_order(names: Sequence[str]) -> list[int]:
    """Where each file goes by its name: `slice2` before `slice10`."""
    return sorted(range(len(names)), key=lambda n: natural(names[n]))


def grey(data: bytes) -> NDArray[Any]:
    """H x W, 8 or 16 bits. Raises Refused for what is no picture."""
    try:
        picture: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise Refused("bad_volume") from error
    if picture is None or picture.size > MOST_PIXELS or picture.dtype.kind != "u":
        raise Refused("bad_volume")
    return np.asarray(picture)


def masks(pictures: Sequence[NDArray[Any]]) -> list[int]:
    """Which of the pictures are masks that lie beside the slices, as in folders to learn from."""
    few = [n for n, each in enumerate(pictures) if _values(each) <= MASK_VALUES]
    return few if MASK_SHARE * len(pictures) <= len(few) < len(pictures) else []


def _values(picture: NDArray[Any]) -> int:
    return int(np.count_nonzero(np.bincount(picture.reshape(-1))))


def to_hounsfield(low: float, tissue: float) -> tuple[float, float]:
    """Slope and intercept that make air -1000 and soft tissue 40 HU."""
    slope = (TISSUE_HU + 1000) / max(1.0, tissue - low)
    return slope, -1000 - low * slope


def landmarks(pictures: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """The values of air and of soft tissue: the darkest ones, and the most frequent bright one."""
    values = np.concatenate([picture[::4, ::4].reshape(-1) for picture in pictures])
    values = values[values < np.iinfo(values.dtype).max]  # the window ends there
    if not values.size:
        raise Refused("bad_volume")
    low, high = (float(value) for value in np.percentile(values, (1, 99.5)))
    if high - low < 4:
        raise Refused("bad_volume")
    counts, edges = np.histogram(values, bins=64, range=(low, high))
    bright = int(0.35 * 64) + int(counts[int(0.35 * 64) :].argmax())
    return low, float(edges[bright] + edges[bright + 1]) / 2


def clipped(picture: NDArray[Any], slope: float, intercept: float) -> NDArray[np.int16]:
    """H x W as if it were Hounsfield units."""
    units = picture.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    whole: NDArray[np.int16] = np.clip(np.rint(units), AIR, 3071).astype(np.int16)
    return whole
