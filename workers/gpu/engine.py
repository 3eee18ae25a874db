"""How a model's network is run by the engine of this worker."""

from dataclasses import replace

from tasks.models import engines
from tasks.models.base import Model
from tasks.models.engines import Engine


def by_engine(variant: Model, engine: Engine, threads: int) -> tuple[Model, Engine]:
    """A model or one of its profiles as this engine runs it, and what runs it then: torch, where
    it has no network for the engine.

    With MNN, `infer` takes and returns arrays. Its sessions have room for one image, so that a
    batch would only let its first image wait for the last.
    """
    network = variant.cpu
    if engine == "torch" or network is None or not set(variant.weights) <= set(network.weights):
        return variant, "torch"
    model = replace(
        variant,
        load=lambda files, device: network.load(files, max(1, threads)),
        infer=network.infer,
        weights=engines.weights(variant, engine),
        max_batch=1,
    )
    return model, engine
