"""The two steps of the face-mask detector by torch: where faces are, and what each one wears."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tasks.models.nets.centerface import CenterFace
from tasks.models.nets.efficientnet import LITE0, Convolution, EfficientNet
from tasks.models.nets.faces import (
    CLASSES,
    CROP,
    FRAMES,
    GREY,
    STRIDE,
    boxes_at,
    frame_px,
    is_unsure,
    out_of_frame,
    place,
    suppress,
)

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


class Rater(nn.Module):
    """A classifier and its calibration as one network: N crops -> N x 4 rates."""

    def __init__(self, classifier: nn.Module, calibration: Sequence[float]) -> None:
        super().__init__()
        self.classifier, self.calibration = classifier, calibration

    def forward(self, crops: Tensor) -> Tensor:
        """See `rates`."""
        return rates(self.classifier(crops), self.calibration)


def rates(logits: Tensor, calibration: Sequence[float]) -> Tensor:
    """N x 4 scores of CLASSES -> N x 4 logits of what `faces.probabilities` makes probabilities of:
    that a face wears a mask, that this is a face as far as the classifier knows, that a mask is
    worn wrongly; and the factor of the detector's own score.

    `calibration`: factor and shift of the mask's margin, then of the face's; that factor.
    """
    mask_factor, mask_shift, factor, shift, heat_factor = calibration
    wearing, facing = margins(logits)
    heat = torch.zeros_like(wearing) + heat_factor
    worn_wrongly = logits[:, 2] - logits[:, 0]
    columns = [wearing * mask_factor + mask_shift, facing * factor + shift, worn_wrongly, heat]
    return torch.stack(columns, dim=1)


def margins(logits: Tensor) -> tuple[Tensor, Tensor]:
    """N x 4 scores -> margins: of a mask (even worn wrongly) over none, of a face over no face."""
    mask = logits[:, [0, 2]].logsumexp(1)
    face = logits[:, :3].logsumexp(1)
    return mask - logits[:, 1], face - logits[:, 3]


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
    by_level = [_boxes(detector, level, threshold, 2**k) for k, level in enumerate(levels)]
    found = [suppress(np.concatenate(boxes), most) for boxes in zip(*by_level, strict=True)]
    small, scale = levels[-1], 2 ** (len(levels) - 1)
    for share in FRAMES:
        unsure = [n for n, boxes in enumerate(found) if is_unsure(boxes)]
        if not unsure:
            break
        small, scale = functional.avg_pool2d(small, 2), 2 * scale
        seen = _filling(detector, small[unsure], share, threshold, scale)
        for n, boxes in zip(unsure, seen, strict=True):
            found[n] = suppress(np.concatenate([found[n], boxes]), most)
    return found


def _boxes(
    detector: CenterFace, level: Tensor, threshold: float, scale: int
) -> list[NDArray[np.float32]]:
    """Per image of a level that is `scale` times smaller than level 0: N x 5, in pixels of that."""
    maps = detector(level)
    heat = maps[:, 0]
    peaks = heat == functional.max_pool2d(heat[:, None], 3, 1, 1)[:, 0]
    where = torch.nonzero((heat > threshold) & peaks)
    values = maps[where[:, 0], :, where[:, 1], where[:, 2]].float().cpu().numpy()
    cells = where.cpu().numpy()
    of_images = [cells[:, 0] == n for n in range(len(level))]
    return [boxes_at(values[mine], cells[mine, 1:], STRIDE * scale) for mine in of_images]


def _filling(
    detector: CenterFace, small: Tensor, share: float, threshold: float, scale: int
) -> list[NDArray[np.float32]]:
    """Per image the faces that fill it, by a look at it `scale` times smaller, in a frame."""
    frame = frame_px(share, *small.shape[2:])
    framed = _padded(functional.pad(small, (frame,) * 4, value=GREY))
    longer = max(small.shape[2:]) * scale
    found = _boxes(detector, framed, threshold, scale)
    return [out_of_frame(boxes, frame * scale, longer) for boxes in found]


def cut(levels: Sequence[Tensor], image: int, box: NDArray[np.float32]) -> Tensor:
    """3 x CROP x CROP of one face, from the level where it is nearest to twice that size."""
    k, x, y, s = place(box, len(levels))
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


def _padded(level: Tensor) -> Tensor:
    height, width = level.shape[2:]
    return functional.pad(level, (0, -width % 32, 0, -height % 32), value=GREY)
