"""Several views of one photo for networks, and their maps laid on the photo: arrays only, no torch.

A network that is shown the mirrored photo errs in other places, so the mean errs less. Views come
in pairs, one pair for each network: the photo, and its mirror image.
"""

import numpy as np

from tasks.imaging.types import Tensor

PAIR = 2
TRUST = 4
"""Power of a map's overlap with the mean of all of them that is its weight: a map that stands alone
counts little."""


def of(plain: Tensor, count: int) -> Tensor:
    """A network's input, 3 x H x W, in `count` views one after the other: 3 `count` x H x W."""
    views = [plain[..., ::-1] if n % PAIR else plain for n in range(count)]
    return np.ascontiguousarray(np.concatenate(views))


def upright(maps: Tensor) -> Tensor:
    """The maps of the views in their order, M x H x W, as maps of the photo."""
    return np.stack([each[:, ::-1] if n % PAIR else each for n, each in enumerate(maps)])


def joined(maps: Tensor) -> Tensor:
    """One map out of several, M x H x W -> H x W: their mean, weighted by how far each agrees with
    all."""
    mean = maps.mean(0)
    overlaps = np.minimum(maps, mean).sum((1, 2)) / np.maximum(maps, mean).sum((1, 2)).clip(1e-6)
    weights = np.maximum(overlaps, 1e-3) ** TRUST
    return np.asarray(np.tensordot(weights / weights.sum(), maps, 1), np.float32)
