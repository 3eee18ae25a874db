"""How far the mattes of a network in 8 bits are from those of torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tasks.imaging.types import Tensor
from tasks.models import matting
from tasks.models.nets import openvino


@dataclass(frozen=True)
class Comparison:
    """Of each photo: the mean difference of the maps, and the IoU of what is above a half."""

    errors: Tensor
    overlaps: Tensor

    def __str__(self) -> str:
        errors, overlaps = self.errors, self.overlaps
        return (
            f"{len(errors)} photos against torch: mean error {errors.mean():.4f}, worst photo "
            f"{errors.max():.4f}; IoU {overlaps.mean():.4f}, median {np.median(overlaps):.4f}, "
            f"worst photo {overlaps.min():.3f}"
        )


def compare(net: Any, file: Path, images: Iterable[Tensor]) -> Comparison:
    """`net`: what `matting.load` gives. `images`: 1 x 3 x 320 x 320 each."""
    session = openvino.load(file, torch.get_num_threads())
    errors, overlaps = [], []
    for image in images:
        [reference] = matting.infer(net, torch.from_numpy(image))
        [ours] = matting.infer_cpu(session, image)
        errors.append(np.abs(ours - reference.numpy()).mean())
        overlaps.append(overlap(ours[0] > 0.5, reference[0].numpy() > 0.5))
    return Comparison(np.array(errors, np.float32), np.array(overlaps, np.float32))


def overlap(one: Any, other: Any) -> float:
    """The share of what both masks have of what either has; 1 if both are empty."""
    either = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / either if either else 1.0
