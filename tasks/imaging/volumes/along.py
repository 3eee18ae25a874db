"""Scores averaged with those of the slices above and below, which the network has not seen."""

import math

import numpy as np
from numpy.typing import NDArray

SIGMA_MM = 2.0
"""Of the Gaussian: at slices of 3 mm, a neighbour has a third of a slice's own weight."""
REACH = 2.5
"""Sigmas beyond which a slice has no weight."""
SUREST = 1e-3
"""A score counts as at least so far from 0 and 1, which halves of 16 bits tell apart."""


def averaged(scores: NDArray[np.floating], distance_mm: float) -> NDArray[np.float16]:
    """Z x H x W, 0..1, of slices that lie so far apart; unchanged if that is 0, for unknown.

    The mean is one of logits: a slice that is sure counts for more than one that is not. Beyond
    the first and the last slice lies what is in them.
    """
    if distance_mm <= 0:
        return scores.astype(np.float16)
    last = len(scores) - 1
    reach = min(math.ceil(REACH * SIGMA_MM / distance_mm), last)
    weights = _weights(reach, distance_mm)
    result = np.empty(scores.shape, np.float16)
    logits: dict[int, NDArray[np.float32]] = {}
    for z in range(len(scores)):
        places = [min(max(z + step, 0), last) for step in range(-reach, reach + 1)]
        # No more than these are held at a time, as floats take twice the memory of halves.
        logits = {each: logits[each] if each in logits else _logit(scores[each]) for each in places}
        mean = sum(weight * logits[each] for weight, each in zip(weights, places, strict=True))
        result[z] = 1 / (1 + np.exp(-np.asarray(mean)))
    return result


def _weights(reach: int, distance_mm: float) -> NDArray[np.float32]:
    """Of the slices around one, so many below to so many above, together 1."""
    away = np.arange(-reach, reach + 1) * distance_mm
    weights = np.exp(-0.5 * (away / SIGMA_MM) ** 2)
    return np.asarray(weights / weights.sum(), np.float32)


def _logit(scores: NDArray[np.floating]) -> NDArray[np.float32]:
    held = np.clip(scores.astype(np.float32), SUREST, 1 - SUREST)
    return np.asarray(np.log(held / (1 - held)), np.float32)
