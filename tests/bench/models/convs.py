"""A small network of random convolutions that takes several sizes: real work on the CPU."""

from typing import Any

import numpy as np

from tasks.models.base import Model, Output, Params

CHANNELS = 24
LAYERS = 6


def load(weights: Any, device: str) -> Any:
    import torch

    torch.manual_seed(1)
    layers: list[torch.nn.Module] = []
    for count in [3] + [CHANNELS] * (LAYERS - 1):
        layers += [torch.nn.Conv2d(count, CHANNELS, 3, padding=1), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Conv2d(CHANNELS, 1, 1)).to(device)


MODEL = Model(
    title="Convolutions",
    kind="matte",
    params=Params,
    load=load,
    preprocess=lambda image, params: np.zeros((3, 64, 64), np.float32),
    infer=lambda session, batch: list(session(batch)),
    postprocess=lambda output, image, params, wanted: Output(),
    bins=((32, 32), (64, 64), (128, 128)),
    licence="Apache-2.0",
    intended_use="Benches.",
    decode="none",
)
