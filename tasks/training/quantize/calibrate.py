"""Finds the scales and the whole numbers of a network's form in 8 bits."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor

from tasks.training.quantize.graph import Convolution, Step
from tasks.training.quantize.plan import Plan
from tasks.training.quantize.rounding import Rounded, by_inputs, places

LEVELS, SIGNED_LEVELS = 255, 127
"""Largest whole number of a value. Where all values are of ReLU the smallest is 0, else -127."""
PLACES = 600
"""At which a convolution's inputs are looked at, in each picture."""


@dataclass(frozen=True)
class Scale:
    """What a value's whole numbers stand for."""

    size: float
    """Of the number 1."""
    signed: bool

    def rounded(self, value: Tensor) -> Tensor:
        """The value as its whole numbers have it."""
        lowest, highest = (-SIGNED_LEVELS, SIGNED_LEVELS) if self.signed else (0, LEVELS)
        return (value / self.size).round().clamp(lowest, highest) * self.size


@dataclass(frozen=True)
class Quantized:
    """A network with what its form in 8 bits needs."""

    plan: Plan
    scales: Mapping[str, Scale]
    """What stands for the values of one scale -> the scale."""
    weights: Mapping[str, Rounded]
    """Convolution -> its weights as whole numbers; those in float32 are missing."""

    def made(self, step: Step, inputs: Sequence[Tensor]) -> Tensor:
        """The value of a step as the network in 8 bits has it, up to the sums' last bits."""
        return self.plan.network.made(step, self.rounded(step, inputs))

    def rounded(self, step: Step, inputs: Sequence[Tensor]) -> list[Tensor]:
        """What a step gets: its inputs, in 8 bits where the plan says so."""
        return [
            self.scales[self.plan.edges[name, step.name]].rounded(value)
            if (name, step.name) in self.plan.edges
            else value
            for name, value in zip(step.inputs, inputs, strict=True)
        ]


def scales_of(plan: Plan, images: Iterable[Tensor]) -> dict[str, Scale]:
    """The largest of all values that share a scale becomes the largest number; nothing is cut
    off."""
    tops: dict[str, float] = {}
    lows: dict[str, float] = {}
    for image in images:
        steps = ((step.name, value) for step, value in plan.network.run(image))
        for name, value in chain([(plan.network.image, image)], steps):
            if (head := plan.scale_names.get(name)) is not None:
                tops[head] = max(tops.get(head, 1e-12), float(value.max()))
                lows[head] = min(lows.get(head, 0.0), float(value.min()))
    return {head: _scale(lows[head], top) for head, top in tops.items()}


def _scale(lowest: float, highest: float) -> Scale:
    if lowest < 0:
        return Scale(max(-lowest, highest) / SIGNED_LEVELS, signed=True)
    return Scale(highest / LEVELS, signed=False)


def weights_of(
    plan: Plan,
    scales: Mapping[str, Scale],
    images: Tensor,
    random: torch.Generator,
    report: Callable[[str], object],
) -> Quantized:
    """Convolutions rounded in the order of the run, each by what those before it, rounded already,
    make of N pictures."""
    weights: dict[str, Rounded] = {}
    convolutions = dict(plan.network.convolutions)
    network = replace(plan.network, convolutions=convolutions)
    current = Quantized(Plan(network, plan.floats), scales, weights)

    def made(step: Step, inputs: Sequence[Tensor]) -> Tensor:
        given = current.rounded(step, inputs)
        if step.kind == "conv" and step.name not in plan.floats:
            seen = places(given[0], convolutions[step.name], PLACES, random)
            weights[step.name], convolutions[step.name] = _fitted(convolutions[step.name], seen)
            report(step.name)
        return network.made(step, given)

    network.answer(images, made)
    return current


def _fitted(convolution: Convolution, seen: Tensor) -> tuple[Rounded, Convolution]:
    groups = convolution.groups
    rounded = by_inputs(convolution.weight, seen, groups)
    differences = (convolution.weight - rounded.weight()).flatten(1).chunk(groups)
    means = seen.mean(0).chunk(groups)
    lost = torch.cat([each @ mean for each, mean in zip(differences, means, strict=True)])
    return rounded, replace(convolution, weight=rounded.weight(), bias=convolution.bias + lost)
