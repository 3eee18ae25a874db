"""The recipe of networks in 8 bits, on a network small enough for a test."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from quantizing import quantized
from torch import Tensor, nn
from torch.nn import functional

from tasks.models.nets import openvino
from tasks.models.nets.u2net import Channels, PoolingBlock, U2Net
from tasks.training.quantize import equalize, graph, maps, reading, recipes, simplify
from tasks.training.quantize.__main__ import main
from tasks.training.quantize.comparison import overlap
from tasks.training.quantize.plan import Plan
from tasks.training.quantize.rounding import by_inputs, nearest

SHAPE = (1, 3, 32, 32)
NESTED = (1, 3, 64, 64)
MAPS = (1, 5, 8, 12)
UNEVEN = 2.0 ** torch.arange(-4, 4)
"""Ranges of channels that one scale does not serve."""


@pytest.fixture(scope="module", autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """A small U-shaped block and a map of what it makes."""
    torch.manual_seed(0)
    block = PoolingBlock(4, Channels(3, 4, 8))
    block.enter[0].weight *= UNEVEN[:, None, None, None]
    block.enter[0].bias *= UNEVEN
    return nn.Sequential(block, nn.Conv2d(8, 1, 3, padding=1), nn.Sigmoid()).eval()


@pytest.fixture(scope="module")
def nested() -> graph.Network:
    """A whole nested network with few channels."""
    torch.manual_seed(0)
    stages = (Channels(3, 2, 4), *[Channels(4, 2, 4)] * 5, *[Channels(8, 2, 4)] * 5)
    return reading.of(U2Net(stages), NESTED)


@pytest.fixture(scope="module")
def images() -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=random) for _ in range(12)]


@pytest.fixture(scope="module")
def network(net: nn.Module) -> graph.Network:
    return reading.of(net, SHAPE)


def test_the_list_of_steps_computes_what_the_module_does(
    net: nn.Module, network: graph.Network, images: list[Tensor]
) -> None:
    assert torch.allclose(network.answer(images[0]), net(images[0]), atol=1e-6)


def test_equalized_channels_leave_the_answer_as_it_is(
    network: graph.Network, images: list[Tensor]
) -> None:
    equalized = equalize.equalized(network, images)

    assert not torch.equal(
        equalized.convolutions["0.enter.0"].weight, network.convolutions["0.enter.0"].weight
    )
    for image in images:
        assert torch.allclose(equalized.answer(image), network.answer(image), atol=1e-5)


def test_equalized_channels_have_ranges_that_are_more_alike(
    network: graph.Network, images: list[Tensor]
) -> None:
    def unevenness(some: graph.Network) -> float:
        values = {step.name: value for step, value in some.run(images[0])}
        [first] = [s.name for s in some.steps if s.inputs == ("0.enter.0",)]
        tops = values[first].amax((0, 2, 3))
        return float(tops.max() / tops.min())

    assert unevenness(equalize.equalized(network, images)) < unevenness(network) / 2


def test_maps_of_all_scales_are_summed_without_being_joined_first(nested: graph.Network) -> None:
    simpler = simplify.simplified(nested)

    image = torch.randn(NESTED, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(simpler.answer(image), nested.answer(image), atol=1e-6)
    assert "fuse" not in simpler.convolutions
    assert {step.kind for step in simpler.steps[-6:-1]} == {"add"}


def test_a_map_of_a_sum_is_made_of_both_sides(nested: graph.Network) -> None:
    simpler = simplify.simplified(nested)

    [summed] = [step for step in simpler.steps if step.name == "sides.0"]

    assert summed.kind == "add"
    assert all(name in simpler.convolutions for name in summed.inputs)


def test_a_map_computed_square_by_square_is_the_same() -> None:
    random = torch.Generator().manual_seed(0)
    weight, features = (torch.randn(shape, generator=random) for shape in ((1, 5, 3, 3), MAPS))

    squares = functional.conv2d(features, maps.by_square(weight), stride=maps.BLOCK, padding=1)

    made = functional.pixel_shuffle(squares, maps.BLOCK)
    assert torch.allclose(made, functional.conv2d(features, weight, padding=1), atol=1e-5)


def test_enlarging_by_products_of_matrices_is_bilinear() -> None:
    values = torch.randn(1, 1, 5, 7, generator=torch.Generator().manual_seed(0))

    made = maps.enlarging(5, 20) @ values[0, 0].numpy() @ maps.enlarging(7, 21).T

    assert np.allclose(made, functional.interpolate(values, (20, 21), mode="bilinear"), atol=1e-6)


def test_weights_rounded_by_their_inputs_keep_sums_better_than_the_nearest_ones() -> None:
    random = torch.Generator().manual_seed(0)
    shared = torch.randn(2000, 4, generator=random) @ torch.randn(4, 36, generator=random)
    inputs = shared + 0.1 * torch.randn(2000, 36, generator=random)
    weight = torch.randn(8, 4, 3, 3, generator=random)

    def lost(made: Tensor) -> float:
        return float((((made - weight).flatten(1) @ inputs.T) ** 2).mean())

    assert lost(by_inputs(weight, inputs).weight()) < lost(nearest(weight).weight()) / 3


def test_what_a_float_convolution_and_a_sum_get_is_not_rounded(network: graph.Network) -> None:
    whole = Plan(network, ())
    spared = Plan(network, ("0.up.2.0",))
    names = {step.name: step.inputs for step in network.steps if step.kind == "concat"}
    [joined] = [name for name in names if network.users(name)[0].name == "0.up.2.0"]

    assert all(user != "add" for _, user in whole.edges)
    assert {user for _, user in whole.edges} - {user for _, user in spared.edges} >= {joined}


def test_both_halves_of_a_concatenation_share_one_scale(network: graph.Network) -> None:
    plan = Plan(network, ())
    joined = next(step for step in network.steps if step.kind == "concat")

    first, second = (plan.edges[name, joined.name] for name in joined.inputs)

    assert first == second


def test_openvino_answers_as_torch_does(
    net: nn.Module, images: list[Tensor], tmp_path: Path
) -> None:
    file = tmp_path / "small.onnx"
    file.write_bytes(quantized(net, images, floats=("0.enter.0",)))

    answer = openvino.load(file, 1).run(images[0].numpy())

    reference = net(images[0]).numpy()
    assert answer.shape == reference.shape
    assert np.abs(answer - reference).mean() < 0.1 * reference.std()


def test_a_network_of_other_parts_is_an_error() -> None:
    with pytest.raises(ValueError, match="cannot quantize aten.tanh"):
        reading.of(nn.Sequential(nn.Conv2d(3, 1, 3, padding=1), nn.Tanh()), SHAPE)


def test_too_few_photos_are_an_error_that_says_how_many_are_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.jpg").write_bytes(b"")

    with pytest.raises(SystemExit):
        main(["--photos", str(tmp_path)])

    assert "has 1 photos; expected 45 or more" in capsys.readouterr().err


def test_the_network_of_matting_is_quantized_by_photos_that_it_looks_at_once() -> None:
    photo = recipes.read(Path(__file__).parent / "golden" / "coffee.jpg")

    assert recipes.RECIPES["matting"]().prepared(photo).shape == (1, 3, 320, 320)


def test_the_overlap_is_the_share_that_both_masks_have() -> None:
    one = np.array([True, True, False, False])

    assert overlap(one, np.array([True, False, True, False])) == pytest.approx(1 / 3)
    assert overlap(one & False, one & False) == 1
