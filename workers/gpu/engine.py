"""How a model's network is run by the engine of this worker."""

from dataclasses import replace

from tasks.models import engines
from tasks.models.base import CpuNetwork, Model
from tasks.models.engines import Engine


def by_engine(variant: Model, engine: Engine, threads: int) -> tuple[Model, Engine]:
    """A model or one of its profiles as this engine runs it, and what runs it then: the next engine
    for which it has a network, in the end torch.

    With MNN and OpenVINO, `infer` takes and returns arrays. Their sessions have room for one image,
    so that a batch would only let its first image wait for the last.
    """
    for one, network in engines.networks(variant, engine):
        if set(variant.weights) <= set(network.weights):
            return _by_network(variant, network, threads), one
    return variant, "torch"


def _by_network(variant: Model, network: CpuNetwork, threads: int) -> Model:
    return replace(
        variant,
        load=lambda files, device: network.load(files, max(1, threads)),
        infer=network.infer,
        weights={name: network.weights[name] for name in variant.weights},
        max_batch=1,
    )
