"""Networks of inverted residuals in 8 bits: groups, strides, values of either sign, other sizes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from quantizing import quantized
from torch import Tensor, nn
from torch.nn import functional

from tasks.models.nets import openvino
from tasks.models.nets.centerface import Block
from tasks.training.quantize import equalize, graph, reading
from tasks.training.quantize.calibrate import Scale
from tasks.training.quantize.rounding import by_inputs

SHAPE = (1, 3, 32, 32)
UNEVEN = 2.0 ** torch.arange(-4, 4)
"""Ranges of channels that one scale does not serve."""


class Residuals(nn.Module):
    """A strided convolution, a block by channels, and its enlargement."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 8, 3, 2, 1), Block(8, 1, 2, 8)
        self.up, self.last = nn.ConvTranspose2d(8, 8, 2, 2), nn.Conv2d(8, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        """N x 3 x H x W -> N x 2 x H x W."""
        features = self.block(functional.relu(self.stem(image)))
        maps: Tensor = self.last(functional.relu(self.up(features)))
        return maps


@pytest.fixture(scope="module", autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def images() -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=random) for _ in range(12)]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    made = Residuals().eval()
    assert made.block.expand is not None
    made.block.expand.weight *= UNEVEN.repeat(2)[:, None, None, None]
    return made


@pytest.fixture(scope="module")
def network(net: nn.Module) -> graph.Network:
    return reading.of(net, SHAPE)


def test_strides_groups_and_enlargement_compute_what_the_module_does(
    net: nn.Module, network: graph.Network, images: list[Tensor]
) -> None:
    assert torch.allclose(network.answer(images[0]), net(images[0]), atol=1e-6)
    assert network.sizes(SHAPE)[network.steps[-1].name] == SHAPE[2:]


def test_channels_are_equalized_through_groups_and_enlargement(
    network: graph.Network, images: list[Tensor]
) -> None:
    equalized = equalize.equalized(network, images)

    for name in ("stem", "block.filter", "up"):
        old, new = (each.convolutions[name].weight for each in (network, equalized))
        assert not torch.allclose(old, new)
    assert torch.allclose(equalized.answer(images[0]), network.answer(images[0]), atol=1e-5)


def test_values_of_either_sign_are_rounded_alike() -> None:
    scale = Scale(0.1, signed=True)

    assert torch.allclose(
        scale.rounded(torch.tensor([-99.0, -0.26, 0.26, 99.0])),
        torch.tensor([-12.7, -0.3, 0.3, 12.7]),
    )


def test_weights_of_each_group_are_rounded_by_what_it_sees() -> None:
    random = torch.Generator().manual_seed(0)
    weight, inputs = (torch.randn(shape, generator=random) for shape in ((4, 2, 3, 3), (500, 36)))

    both = by_inputs(weight, inputs, 2)

    first = by_inputs(weight[:2], inputs[:, :18])
    assert torch.equal(both.numbers[:2], first.numbers)


def test_openvino_answers_as_torch_does_for_pictures_of_other_sizes(
    net: nn.Module, images: list[Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "small.onnx"
    file.write_bytes(quantized(net, images, any_size=True))
    session = openvino.load(file, 1)

    for given in (images[0], torch.cat([images[1], images[2]], 3)):
        answer, reference = session.run(given.numpy()), net(given).numpy()
        assert answer.shape == reference.shape
        assert np.abs(answer - reference).mean() < 0.05 * reference.std()
