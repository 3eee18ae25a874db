"""What runs networks: torch, the reference, or MNN without a GPU. Each has weights of its own."""

from collections.abc import Mapping
from typing import Literal

from tasks.models.base import Model, Weight

Engine = Literal["torch", "mnn"]
ENGINES: tuple[Engine, ...] = ("torch", "mnn")


def weights(model: Model, engine: Engine) -> Mapping[str, Weight]:
    """The weights that a model, in all its profiles, has with this engine."""
    if engine == "torch" or model.cpu is None:
        return model.weights
    return {name: model.cpu.weights.get(name, weight) for name, weight in model.weights.items()}
