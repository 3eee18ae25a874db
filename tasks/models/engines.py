"""What runs networks: torch, the reference, or MNN without a GPU. Each has weights of its own."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import structlog

from tasks.errors import Unavailable
from tasks.settings import Settings

if TYPE_CHECKING:  # `pixelmill up` asks for the engine, and needs no models
    from tasks.models.base import Model, Weight

Engine = Literal["torch", "mnn"]
ENGINES: tuple[Engine, ...] = ("torch", "mnn")


log = structlog.get_logger()


def choose(device: str, settings: Settings) -> Engine:
    """The engine of a worker whose device is `cpu` or `cuda`, as the setting `cpu_engine` says.

    Raises Unavailable if the setting asks for MNN and its package is missing.
    """
    wanted = settings.cpu_engine
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


def weights(model: "Model", engine: Engine) -> "Mapping[str, Weight]":
    """The weights that a model, in all its profiles, has with this engine."""
    if engine == "torch" or model.cpu is None:
        return model.weights
    return {name: model.cpu.weights.get(name, weight) for name, weight in model.weights.items()}
