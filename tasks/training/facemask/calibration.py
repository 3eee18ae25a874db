"""The classifier's scores on samples, and what makes them probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tasks.imaging import geometry
from tasks.models.nets.facemask import Classifier, margins
from tasks.models.nets.faces import CROP
from tasks.training.facemask.data import BARE, CONTEXT, NOTHING, Sample


def plain(sample: Sample) -> NDArray[Any]:
    """CROP x CROP x 3: the view of a sample that the model would see."""
    whole = sample.pixels.shape[0]
    side = round(whole / CONTEXT)
    start = (whole - side) // 2
    inner = np.ascontiguousarray(sample.pixels[start : start + side, start : start + side])
    crop: NDArray[Any] = geometry.resize(inner, CROP, CROP)
    return crop


def scores(net: Classifier, samples: Sequence[Sample]) -> NDArray[np.float32]:
    """N x 4 logits."""
    parts = []
    with torch.inference_mode():
        for at in range(0, len(samples), 128):
            crops = np.stack([plain(sample) for sample in samples[at : at + 128]])
            batch = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
            parts.append(net(batch.to(next(net.parameters()).device)).float().cpu().numpy())
    logits: NDArray[np.float32] = np.concatenate(parts)
    return logits


def calibrate(net: Classifier, samples: Sequence[Sample]) -> list[float]:
    """Factor and shift of the mask's margin, then of the face's, and factor of the heat's logit.

    Logistic regressions on the validation pictures, so that a score is the share that is right.
    Masked and bare faces have the same weight, although the streets had nine masks to one bare
    face: where the model is used, it may be the other way round.
    """
    splits = ("validation", "validation-unannotated")
    used = [sample for sample in samples if sample.split in splits]
    logits = torch.from_numpy(scores(net, used))
    labels = torch.tensor([sample.label for sample in used])
    heat = torch.logit(torch.tensor([sample.heat for sample in used]).clamp(0.01, 0.99))
    face = labels != NOTHING
    masked = (labels[face] != BARE).float()
    share = masked.mean().clamp(0.01, 0.99)  # a few pictures may all be of one kind
    even = 0.5 * (masked / share + (1 - masked) / (1 - share))
    usual = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.3])
    values = usual.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([values], max_iter=200, line_search_fn="strong_wolfe")
    wearing, facing = margins(logits)

    def closure() -> Any:
        optimiser.zero_grad()
        mask_loss = functional.binary_cross_entropy_with_logits(
            wearing[face] * values[0] + values[1], masked, even
        )
        face_loss = functional.binary_cross_entropy_with_logits(
            facing * values[2] + values[3] + heat * values[4], face.float()
        )
        # Without this, classes that are never confused would be fitted with infinite certainty.
        loss = mask_loss + face_loss + 1e-3 * (values - usual).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]  # not typed by torch
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]  # not typed by torch
    return [round(float(value), 4) for value in values.detach()]
