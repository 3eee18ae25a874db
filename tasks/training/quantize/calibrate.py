"""Finds the scales and the whole numbers of a network's form in 8 bits."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tasks.training.quantize.graph import Convolution, Step
from tasks.training.quantize.plan import Plan
from tasks.training.quantize.rounding import Rounded, by_inputs, places

LEVELS = 255
"""Largest whole number of a value; the smallest is 0, as all values are of ReLU."""
PLACES = 600
"""At which a convolution's inputs are looked at, in each picture."""


@dataclass(frozen=True)
class Quantized:
    """A network with what its form in 8 bits needs."""

    plan: Plan
    scales: Mapping[str, float]
    """What stands for the values of one scale -> the scale."""
    weights: Mapping[str, Rounded]
    """Convolution -> its weights as whole numbers; those in float32 are missing."""

    def made(self, step: Step, inputs: Sequence[Tensor]) -> Tensor:
        """The value of a step as the network in 8 bits has it, up to the sums' last bits."""
        return self.plan.network.made(step, self.rounded(step, inputs))

    def rounded(self, step: Step, inputs: Sequence[Tensor]) -> list[Tensor]:
        """What a step gets: its inputs, in 8 bits where the plan says so."""
        return [
            _rounded(value, self.scales[self.plan.edges[name, step.name]])
            if (name, step.name) in self.plan.edges
            else value
            for name, value in zip(step.inputs, inputs, strict=True)
        ]


def _rounded(value: Tensor, scale: float) -> Tensor:
    return (value / scale).round().clamp(0, LEVELS) * scale


def scales_of(plan: Plan, images: Iterable[Tensor]) -> dict[str, float]:
    """The largest of all values that share a scale becomes 255; nothing is cut off."""
    tops: dict[str, float] = {}
    for image in images:
        for step, value in plan.network.run(image):
            if (head := plan.scale_names.get(step.name)) is not None:
                tops[head] = max(tops.get(head, 1e-12), float(value.max()))
    return {head: top / LEVELS for head, top in tops.items()}


def weights_of(
    plan: Plan,
    scales: Mapping[str, float],
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
    rounded = by_inputs(convolution.weight, seen)
    lost = (convolution.weight - rounded.weight()).flatten(1) @ seen.mean(0)
    return rounded, replace(convolution, weight=rounded.weight(), bias=convolution.bias + lost)
