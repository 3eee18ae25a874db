"""The two steps of the face-mask detector on a CPU: one photo at a time, in arrays of NumPy."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from tasks.imaging.types import Tensor
from tasks.models.nets.faces import (
    CROP,
    FRAMES,
    GREY,
    STRIDE,
    answer,
    boxes_at,
    frame_px,
    is_unsure,
    out_of_frame,
    place,
    suppress,
)

Run = Callable[[Tensor], Tensor]
"""1 x 3 x H x W -> what a network says of it."""
NO_RATES = np.zeros((0, 4), np.float32)


def infer(runs: tuple[Run, Run], photo: Tensor, threshold: float, most: int) -> NDArray[np.float32]:
    """3 x H x W -> `most` x 7, see `facemask.infer`. `runs`: detector and classifier."""
    detector, classifier = runs
    levels = pyramid(photo)
    boxes = find_faces(detector, levels, threshold, most)
    rated = [classifier(cut(levels, box)[None]) for box in boxes]
    return answer(boxes, np.concatenate([NO_RATES, *rated]), most)


def pyramid(photo: Tensor) -> list[Tensor]:
    """3 x H x W at its size, at half and, from 1280 on, at a quarter. Sides are multiples of 32,
    grey below and to the right."""
    levels = [photo]
    while max(levels[-1].shape[1:]) > 320:
        levels.append(_halved(levels[-1]))
    return [_padded(level) for level in levels]


def find_faces(
    detector: Run, levels: Sequence[Tensor], threshold: float, most: int
) -> NDArray[np.float32]:
    """Up to `most` boxes x1, y1, x2, y2, score in pixels of level 0."""
    by_level = [_boxes(detector, level, threshold, 2**k) for k, level in enumerate(levels)]
    found = suppress(np.concatenate(by_level), most)
    small, scale = levels[-1], 2 ** (len(levels) - 1)
    for share in FRAMES:
        if not is_unsure(found):
            break
        small, scale = _halved(small), 2 * scale
        filling = _filling(detector, small, share, threshold, scale)
        found = suppress(np.concatenate([found, filling]), most)
    return found


def _boxes(detector: Run, level: Tensor, threshold: float, scale: int) -> NDArray[np.float32]:
    """N x 5 of a level that is `scale` times smaller than level 0, in pixels of that."""
    [maps] = detector(level[None])
    heat = maps[0]
    peaks = heat == cv2.dilate(heat, np.ones((3, 3), np.uint8))
    cells = np.argwhere((heat > threshold) & peaks)
    return boxes_at(maps[:, cells[:, 0], cells[:, 1]].T, cells, STRIDE * scale)


def _filling(
    detector: Run, small: Tensor, share: float, threshold: float, scale: int
) -> NDArray[np.float32]:
    """The faces that fill a photo, by a look at it `scale` times smaller, in a frame."""
    frame = frame_px(share, *small.shape[1:])
    framed = np.pad(small, ((0, 0), (frame, frame), (frame, frame)), constant_values=GREY)
    found = _boxes(detector, _padded(framed), threshold, scale)
    return out_of_frame(found, frame * scale, max(small.shape[1:]) * scale)


def cut(levels: Sequence[Tensor], box: NDArray[np.float32]) -> Tensor:
    """3 x CROP x CROP of one face."""
    k, x, y, side = place(box, len(levels))
    level = levels[k]
    height, width = level.shape[1:]
    square = np.full((3, side, side), GREY, np.float32)
    top, left = max(0, y), max(0, x)
    bottom, right = min(height, y + side), min(width, x + side)
    if bottom > top and right > left:
        square[:, top - y : bottom - y, left - x : right - x] = level[:, top:bottom, left:right]
    return np.stack([_scaled(plane) for plane in square])


def _halved(level: Tensor) -> Tensor:
    """The means of 2 x 2 pixels."""
    height, width = (side // 2 * 2 for side in level.shape[1:])
    rows = level[:, 0:height:2] + level[:, 1:height:2]
    return np.asarray((rows[:, :, 0:width:2] + rows[:, :, 1:width:2]) / 4, np.float32)


def _padded(level: Tensor) -> Tensor:
    height, width = level.shape[1:]
    margins = ((0, 0), (0, -height % 32), (0, -width % 32))
    if not any(after for _, after in margins):
        return level
    return np.pad(level, margins, constant_values=GREY)


def _scaled(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """A square at CROP x CROP, bilinearly with antialiasing, as torch does it (after Pillow)."""
    scaled = Picture.fromarray(plane).resize((CROP, CROP), Picture.Resampling.BILINEAR)
    return np.asarray(scaled, np.float32)
