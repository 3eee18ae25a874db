"""A model that has been loaded onto an accelerator."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.models import contract
from tasks.models.base import Model
from workers.gpu.accelerator import Accelerator
from workers.gpu.cost import Cost

SHARE_WEIGHT = 0.05
"""Of the newest batch in the mean of what images are in numbers of those of the first bin."""


@dataclass
class Loaded:
    """A model on an accelerator, and what has been measured of it."""

    model: Model
    session: Any
    on: Accelerator
    cost: Cost
    """Cost of images of the first bin; images of other bins count by their pixels."""
    pays: bool = True
    """Whether an image in a batch costs less than an image alone."""
    compiled: dict[tuple[int, ...], Any] = field(default_factory=dict)
    """(H, W) of a bin -> its compiled session, where torch.compile is on."""
    image_bytes: dict[tuple[int, ...], int] = field(default_factory=dict)
    """(H, W) of a bin -> memory that one more image of a batch takes, where that is measured."""

    usual_share: float = 1.0
    """Running mean of `share` over what has been asked for: two where networks look twice."""

    def count(self, shape: Sequence[int]) -> float:
        """An array of this (C, H, W) has been asked for; answers its share."""
        share = self.share(shape)
        self.usual_share += SHARE_WEIGHT * (share - self.usual_share)
        return share

    def infer(self, batch: NDArray[np.float32]) -> list[NDArray[Any]]:
        """N x C x H x W -> N arrays. Raises ModelFailure if the model returns anything else."""
        session = self.compiled.get(batch.shape[2:], self.session)
        with self.on.precision():
            given = self.on.put(batch)
            outputs = contract.inferred(self.model.infer(session, given), given)
        return [_own_memory(output, batch) for output in self.on.take(outputs)]

    def share(self, shape: Sequence[int]) -> float:
        """Numbers of an array of this (C, H, W), in those of an RGB image of the first bin."""
        height, width = self.model.bins[0]
        return math.prod(shape) / (3 * height * width)


def _own_memory(output: NDArray[Any], batch: NDArray[Any]) -> NDArray[Any]:
    """The output, copied if it lies in the batch's memory: later batches overwrite that."""
    return output.copy() if np.may_share_memory(output, batch) else output
