"""What the face-mask detector does with its networks' answers, whatever runs them: NumPy alone."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CLASSES = ("facemask", "no facemask", "worn incorrectly", "no face")
CROP = 112
"""Side of what the classifier sees of a face."""
MARGIN = 0.15
"""Around a face's box, as share of its longer side, on each side of the square that is cut."""
GREY = 114.0
TOP, BOTTOM = 0.15, 0.08
"""How much lower than CenterFace's a face's upper and lower edge are, as shares of its height:
CenterFace takes hair with it and leaves out the chin. Medians over the training pictures."""
CROWD_FACE = 0.2
"""Height, as a share of the photo's longer side, below which a face may be one of a crowd."""
DOUBT = 1.0
"""How much the logit of a bare face in a crowd is lowered: backs of heads, hands and coats are
called bare faces there more often than the networks' scores say (docs/facemask.md)."""
STRIDE = 4
"""Input pixels per cell of the detector's maps."""
SMALLEST = 8
"""Faces of fewer pixels (of the working size) are not looked for."""
CERTAIN = 0.6
"""The detector's score of a face that needs no further look."""
FRAMES = (0.25, 0.5)
"""What is put around a photo for each further look, as a share of its longer side, on each side.
Each of these looks is at a copy of half the size of the one before."""
FILLS = 0.4
"""Height of a face that a further look may find, as a share of the photo's longer side."""


def boxes_at(
    values: NDArray[np.float32], cells: NDArray[np.int64], stride: int
) -> NDArray[np.float32]:
    """Values of the detector's maps at these cells (row, column) -> N x 5 (x1, y1, x2, y2, score).

    `stride`: pixels of level 0 per cell.
    """
    heat, *sizes, down, across = values.T
    heights, widths = (np.exp(np.clip(size, -4, 6)) * stride for size in sizes)
    y, x = (cells[:, 0] + down + 0.5) * stride, (cells[:, 1] + across + 0.5) * stride
    sides = [x - widths / 2, y - heights / 2, x + widths / 2, y + heights / 2]
    boxes = np.stack([*sides, heat], axis=1).astype(np.float32)
    large_enough: NDArray[np.float32] = boxes[np.minimum(heights, widths) >= SMALLEST]
    return large_enough


def is_unsure(boxes: NDArray[np.float32]) -> bool:
    """Whether a photo in which these were found deserves a further look, smaller and in a grey
    frame: CenterFace overlooks a face that fills a photo, as its outline is missing."""
    return not (boxes[:, 4] >= CERTAIN).any()


def frame_px(share: float, height: int, width: int) -> int:
    """Width of the frame around a photo of this size. `share`: one of FRAMES."""
    return round(share * max(height, width))


def out_of_frame(boxes: NDArray[np.float32], frame: int, longer: int) -> NDArray[np.float32]:
    """Boxes of a framed photo whose longer side is `longer` -> those of faces that fill it, in its
    own pixels."""
    moved = boxes - np.array([frame] * 4 + [0], np.float32)
    filling: NDArray[np.float32] = moved[moved[:, 3] - moved[:, 1] >= FILLS * longer]
    return filling


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


def place(box: NDArray[np.float32], levels: int) -> tuple[int, int, int, int]:
    """(level, left, top, side) of the square that the classifier sees of a face, from the level
    where it is nearest to twice CROP; in pixels of that level."""
    left, top, side = square(box)
    k = min(levels - 1, max(0, math.floor(math.log2(max(side, 1) / (2 * CROP))) + 1))
    return k, round(left / 2**k), round(top / 2**k), max(2, round(side / 2**k))


def probabilities(
    rates: NDArray[np.float32], heat: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """(face, mask if it is a face, worn wrongly if it is a mask), each N values from 0 to 1.

    `rates`: N x 4 of `nets.facemask.rates`; `heat`: N scores of the detector.
    """
    seen = np.clip(heat, 0.01, 0.99)
    logit = np.log(seen / (1 - seen))
    wearing, facing, wrongly, factor = rates.T
    return _sigmoid(facing + factor * logit), _sigmoid(wearing), _sigmoid(wrongly)


def answer(
    boxes: NDArray[np.float32], rates: NDArray[np.float32], most: int
) -> NDArray[np.float32]:
    """Boxes and rates of one photo's faces -> `most` x 7; unused rows are 0."""
    rows = np.zeros((most, 7), np.float32)
    rows[: len(boxes), :4] = settled(boxes)
    rows[: len(boxes), 4:] = np.stack(probabilities(rates, boxes[:, 4]), axis=1)
    return rows


def doubted(score: float, height: float) -> float:
    """The score of a bare face of this height, as a share of the photo's longer side."""
    if height >= CROWD_FACE:
        return score
    odds = math.exp(-DOUBT)
    return round(score * odds / (1 - score + score * odds), 4)


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))), np.float32)
