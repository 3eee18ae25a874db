"""How far the answers of a network in 8 bits are from those of torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tasks.imaging.types import Image, Tensor
from tasks.models import facemask, matting
from tasks.models.nets import openvino
from tasks.models.nets.faces_numpy import Run, find_faces, pyramid

NEAR_PX = 5
"""How far the sides of two boxes of one face may be apart."""


@dataclass(frozen=True)
class Mattes:
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


def of_mattes(net: Any, file: Path, images: Iterable[Tensor]) -> Mattes:
    """`net`: what `matting.load` gives. `images`: 1 x 3 x 320 x 320 each."""
    session = openvino.load(file, torch.get_num_threads())
    errors, overlaps = [], []
    for image in images:
        [reference] = matting.infer(net, torch.from_numpy(image))
        [ours] = matting.infer_cpu(session, image)
        errors.append(np.abs(ours - reference.numpy()).mean())
        overlaps.append(overlap(ours[0] > 0.5, reference[0].numpy() > 0.5))
    return Mattes(np.array(errors, np.float32), np.array(overlaps, np.float32))


def overlap(one: Any, other: Any) -> float:
    """The share of what both masks have of what either has; 1 if both are empty."""
    either = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / either if either else 1.0


@dataclass(frozen=True)
class Faces:
    """The faces that torch finds in photos, and which of them are found in 8 bits, too."""

    faces: int
    differences: Tensor
    """Of the scores of those that both find."""
    more: int
    """Found in 8 bits alone."""

    def __str__(self) -> str:
        found, scores = len(self.differences), np.abs(self.differences)
        return (
            f"{found} of torch's {self.faces} faces are found within {NEAR_PX} pixels, {self.more} "
            f"others; scores differ by {scores.mean():.4f}, at most {scores.max():.3f}"
        )


def of_faces(detector: Any, file: Path, images: Iterable[Image]) -> Faces:
    """`detector`: what `facemask.load_detector` gives."""
    session = openvino.load(file, torch.get_num_threads())
    counts, more, differences = 0, 0, [np.zeros(0, np.float32)]
    for image in images:
        photo = facemask.preprocess(image, facemask.Facemask())
        wanted = _found(lambda given: np.asarray(detector(torch.from_numpy(given))), photo)
        ours = _found(session.run, photo)
        apart = np.abs(wanted[:, None, :4] - ours[None, :, :4]).max(2, initial=0)
        nearest = apart.argmin(1) if len(ours) else ()
        pairs = [(n, int(k)) for n, k in enumerate(nearest) if apart[n, k] <= NEAR_PX]
        counts, more = counts + len(wanted), more + len(ours) - len(pairs)
        differences += [ours[k, 4:] - wanted[n, 4:] for n, k in pairs]
    return Faces(counts, np.concatenate(differences), more)


def _found(run: Run, photo: Tensor) -> Tensor:
    """N x 5, the faces that count."""
    boxes = find_faces(run, pyramid(photo), facemask.DETECTED_FROM, facemask.MAX_FACES)
    return boxes[boxes[:, 4] >= facemask.SHOWN_FROM]
