"""What runs the networks of this worker: torch, the reference, or MNN where there is no GPU."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

import structlog
import torch

from tasks.errors import Unavailable
from tasks.imaging.types import Tensor
from tasks.models import engines
from tasks.models.base import Model
from tasks.models.engines import Engine
from tasks.settings import settings

log = structlog.get_logger()


def choose_engine(device: str) -> Engine:
    """The engine of a worker whose device is `cpu` or `cuda`, as the setting `cpu_engine` says.

    Raises Unavailable if the setting asks for MNN and its package is missing.
    """
    wanted = settings().cpu_engine
    if device != "cpu" or wanted == "torch":
        return "torch"
    if find_spec("MNN"):
        return "mnn"
    if wanted == "mnn":
        raise Unavailable(
            "PIXELMILL_CPU_ENGINE=mnn, but the package mnn is not installed",
            hint="Install it (there is none for some systems), or set PIXELMILL_CPU_ENGINE=auto.",
        )
    log.warning("networks run by torch", reason="the package mnn is not installed")
    return "torch"


def with_engine(variant: Model, engine: Engine, threads: int) -> Model:
    """A model or one of its profiles as this engine runs it; unchanged where it has no network for
    it. `infer` takes and returns torch tensors in either case, over the same memory. MNN's sessions
    have room for one image, so that a batch would only let its first image wait for the last.
    """
    network = variant.cpu
    if engine == "torch" or network is None or not set(variant.weights) <= set(network.weights):
        return variant
    return replace(
        variant,
        load=lambda files, device: network.load(files, threads),
        infer=lambda session, batch: _tensors(network.infer(session, batch.numpy())),
        weights=engines.weights(variant, engine),
        max_batch=1,
    )


def _tensors(arrays: Sequence[Tensor]) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]
