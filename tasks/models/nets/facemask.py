"""The two steps of the face-mask detector: where faces are, and what each one wears."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tasks.models.nets.centerface import STRIDE, CenterFace
from tasks.models.nets.efficientnet import LITE0, Convolution, EfficientNet

CLASSES = ("facemask", "no facemask", "worn incorrectly", "no face")
CROP = 112
"""Side of what the classifier sees of a face."""
MARGIN = 0.15
"""Around a face's box, as share of its longer side, on each side of the square that is cut."""
GREY = 114.0
TOP, BOTTOM = 0.15, 0.08
"""How much lower than CenterFace's a face's upper and lower edge are, as shares of its height:
CenterFace takes hair with it and leaves out the chin. Medians over the training pictures."""
SMALLEST = 8
"""Faces of fewer pixels (of the working size) are not looked for."""
STAGES = LITE0[:5]


class Classifier(nn.Module):
    """N x 3 x CROP x CROP RGB 0..255 -> N x 4 scores (logits) of CLASSES.

    EfficientNet-Lite0 up to 1/16, 0.7 M parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        trunk = EfficientNet(STAGES)
        self.stem, self.blocks = trunk.stem, trunk.blocks
        self.head = Convolution(STAGES[-1].out, 256, kernel=1)
        self.classifier = nn.Linear(256, len(CLASSES))

    def forward(self, crops: Tensor) -> Tensor:
        """See the class."""
        features = self.head(self.blocks(self.stem((crops - 127) / 128)))
        scores: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return scores


def pyramid(batch: Tensor) -> list[Tensor]:
    """The batch at its size, at half and, from 1280 on, at a quarter: a face that fills a photo is
    too large for CenterFace. Sides are multiples of 32, grey below and to the right."""
    levels = [batch]
    while max(levels[-1].shape[2:]) > 320:
        levels.append(functional.avg_pool2d(levels[-1], 2))
    return [_padded(level) for level in levels]


def find_faces(
    detector: CenterFace, levels: Sequence[Tensor], threshold: float, most: int
) -> list[NDArray[np.float32]]:
    """Per image of the batch up to `most` boxes x1, y1, x2, y2, score in pixels of level 0."""
    found: list[list[NDArray[np.float32]]] = [[] for _ in range(levels[0].shape[0])]
    for k, level in enumerate(levels):
        maps = detector(level)
        heat = maps[:, 0]
        peaks = heat == functional.max_pool2d(heat[:, None], 3, 1, 1)[:, 0]
        where = torch.nonzero((heat > threshold) & peaks)
        values = maps[where[:, 0], :, where[:, 1], where[:, 2]].float().cpu().numpy()
        cells = where.cpu().numpy()
        for n, boxes in enumerate(found):
            mine = cells[:, 0] == n
            boxes.append(_boxes(values[mine], cells[mine, 1:], STRIDE * 2**k))
    return [suppress(np.concatenate(boxes), most) for boxes in found]


def suppress(
    boxes: NDArray[np.float32], most: int, overlap: float = 0.35, inside: float = 0.7
) -> NDArray[np.float32]:
    """Non-maximum suppression of N x 5 boxes: the best first, none that overlaps (intersection over
    union) or lies inside (intersection over the smaller one) a better one by more than said."""
    left = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    kept: list[NDArray[np.float32]] = []
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(best)
        low = np.maximum(left[:, :2], best[:2])
        high = np.minimum(left[:, 2:4], best[2:4])
        common = np.prod(np.clip(high - low, 0, None), axis=1)
        areas = np.prod(left[:, 2:4] - left[:, :2], axis=1)
        own = np.prod(best[2:4] - best[:2])
        union = areas + own - common
        left = left[(common <= overlap * union) & (common <= inside * np.minimum(areas, own))]
    return np.array(kept, np.float32).reshape(-1, 5)


def settled(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """N x 4 boxes of CenterFace -> from forehead to chin, as people draw them. The classifier has
    learned from the former, so this is for the answer alone."""
    heights = boxes[:, 3] - boxes[:, 1]
    moved = boxes[:, :4].copy()
    moved[:, 1] += TOP * heights
    moved[:, 3] += BOTTOM * heights
    return moved


def square(box: Sequence[float] | NDArray[np.float32]) -> tuple[float, float, float]:
    """(left, top, side) of the square around a box that the classifier sees."""
    x1, y1, x2, y2 = (float(value) for value in box[:4])
    side = max(x2 - x1, y2 - y1) * (1 + 2 * MARGIN)
    return (x1 + x2 - side) / 2, (y1 + y2 - side) / 2, side


def cut(levels: Sequence[Tensor], image: int, box: NDArray[np.float32]) -> Tensor:
    """3 x CROP x CROP of one face, from the level where it is nearest to twice that size."""
    left, top, side = square(box)
    k = min(len(levels) - 1, max(0, math.floor(math.log2(max(side, 1) / (2 * CROP))) + 1))
    x, y, s = round(left / 2**k), round(top / 2**k), max(2, round(side / 2**k))
    level = levels[k][image]
    height, width = level.shape[1:]
    inner = level[:, max(0, y) : min(height, y + s), max(0, x) : min(width, x + s)]
    margins = (max(0, -x), max(0, x + s - width), max(0, -y), max(0, y + s - height))
    if inner.numel() == 0:
        return level.new_full((3, CROP, CROP), GREY)
    whole = functional.pad(inner, margins, value=GREY) if any(margins) else inner
    resized = functional.interpolate(
        whole[None], (CROP, CROP), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0]


def _boxes(
    values: NDArray[np.float32], cells: NDArray[np.int64], stride: int
) -> NDArray[np.float32]:
    """Values of the maps at these cells -> N x 5 in pixels of level 0."""
    heat, *sizes, down, across = values.T
    heights, widths = (np.exp(np.clip(size, -4, 6)) * stride for size in sizes)
    y, x = (cells[:, 0] + down + 0.5) * stride, (cells[:, 1] + across + 0.5) * stride
    sides = [x - widths / 2, y - heights / 2, x + widths / 2, y + heights / 2]
    boxes = np.stack([*sides, heat], axis=1).astype(np.float32)
    large_enough: NDArray[np.float32] = boxes[np.minimum(heights, widths) >= SMALLEST]
    return large_enough


def _padded(level: Tensor) -> Tensor:
    height, width = level.shape[2:]
    return functional.pad(level, (0, -width % 32, 0, -height % 32), value=GREY)
