"""Gives the channels of a value like ranges, and the answer stays the same.

A channel may be divided by any positive number where it is made, if the weights on it are
multiplied by the same number: ReLU, pooling, enlarging and concatenation let the number pass, and
the sides of a sum need the same one. Nagel et al., Data-Free
Quantization Through Weight Equalization and Bias Correction, 2019; here with the measured ranges of
channels.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from tasks.training.quantize.graph import SHUFFLE, Convolution, Network
from tasks.training.quantize.plan import Groups

Heads = Mapping[str, list[object]]
"""Value -> for each of its channels, what stands for all channels with the same factor."""


def equalized(network: Network, images: Iterable[Tensor]) -> Network:
    """The same network in float32, its channels scaled by what these pictures make of them."""
    heads = _heads(network)
    ranges = _ranges(network, heads, images)
    shares, fixed = _shares(network, heads), _fixed(network, heads)
    factors = {
        head: (largest / shares[head]) ** 0.5 if head in shares else largest
        for head, largest in ranges.items()
        if largest > 0 and shares.get(head, 1) > 0 and head not in fixed
    }
    return _scaled(network, heads, factors)


def _fixed(network: Network, heads: Heads) -> set[object]:
    """What must stay as it is: the picture and the answer."""
    return {head for name in (network.image, network.steps[-1].name) for head in heads[name]}


def _heads(network: Network) -> Heads:
    groups, widths = Groups(), network.widths()
    for step in network.steps:
        before = 0
        places = SHUFFLE**2 if step.kind == "shuffle" else 1
        for name in step.inputs if step.kind != "conv" else ():
            for channel in range(widths[name]):
                groups.join((step.name, before + channel // places), (name, channel))
            before += widths[name] if step.kind == "concat" else 0
    return {
        name: [groups.head((name, channel)) for channel in range(width)]
        for name, width in widths.items()
    }


def _ranges(network: Network, heads: Heads, images: Iterable[Tensor]) -> Mapping[object, float]:
    """The largest value of each channel, of what convolutions and sums get."""
    largest: dict[object, float] = defaultdict(float)
    wanted = _given(network)
    for image in images:
        for step, value in network.run(image):
            if step.name not in wanted:
                continue
            tops = value.abs().amax((0, 2, 3)).tolist()
            for head, top in zip(heads[step.name], tops, strict=True):
                largest[head] = max(largest[head], top)
    return largest


def _given(network: Network) -> set[str]:
    """The values of sums and ReLU, and of convolutions whose values others get as they are."""
    plain = {
        step.name
        for step in network.steps
        if step.kind == "conv" and any(each.kind == "conv" for each in network.users(step.name))
    }
    return plain | {step.name for step in network.steps if step.kind in ("relu", "add")}


def _shares(network: Network, heads: Heads) -> Mapping[object, float]:
    """The largest weight on each channel, as a share of the largest one for the same output."""
    shares: dict[object, float] = defaultdict(float)
    for step in network.steps:
        if step.kind != "conv":
            continue
        convolution = network.convolutions[step.name]
        if convolution.groups > 1:  # a weight on each channel has a scale of its own
            continue
        weight = convolution.weight.abs()
        tops = weight.amax((1, 2, 3), keepdim=True).clamp(min=1e-30)
        of_channel = (weight / tops).amax((0, 2, 3)).tolist()
        for head, share in zip(heads[step.inputs[0]], of_channel, strict=True):
            shares[head] = max(shares[head], share)
    return shares


def _scaled(network: Network, heads: Heads, factors: Mapping[object, float]) -> Network:
    def by_channel(name: str) -> Tensor:
        return torch.tensor([factors.get(head, 1.0) for head in heads[name]], dtype=torch.float64)

    convolutions: dict[str, Convolution] = {}
    for step in network.steps:
        if step.kind != "conv":
            continue
        old = network.convolutions[step.name]
        into, out = by_channel(step.inputs[0]), by_channel(step.name)
        times = into.reshape(old.groups, -1).repeat_interleave(len(out) // old.groups, 0)
        weight = old.weight.double() * times[:, :, None, None] / out[:, None, None, None]
        bias = old.bias.double() / out
        convolutions[step.name] = replace(old, weight=weight.float(), bias=bias.float())
    return replace(network, convolutions=convolutions)
