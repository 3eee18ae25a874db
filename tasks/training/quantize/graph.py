"""A network as a list of steps: what is quantized, run and written here.

It knows what nested U-shaped networks and detectors of inverted residuals are made of:
convolutions, also by groups, ReLU, pooling by the largest, bilinear enlarging, channels that become
places, concatenation, sums, and sigmoids.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Kind = Literal["conv", "relu", "pool", "resize", "shuffle", "concat", "add", "sigmoid"]
SHUFFLE = 2
"""Side of the squares that `shuffle` makes of channels."""


@dataclass(frozen=True)
class Convolution:
    """Weights O x I x K x K and biases O, with the distances between the weights' places. I is what
    one of the groups sees."""

    weight: Tensor
    bias: Tensor
    dilation: int
    padding: int
    stride: int = 1
    groups: int = 1

    def __call__(self, features: Tensor) -> Tensor:
        """N x (I * groups) x H x W -> N x O x H / stride x W / stride."""
        return functional.conv2d(
            features, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def answer_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what it makes."""
        reach = self.dilation * (self.weight.shape[-1] - 1) - 2 * self.padding
        return (height - reach - 1) // self.stride + 1, (width - reach - 1) // self.stride + 1


@dataclass(frozen=True)
class Step:
    """What makes one value of others. A value has the name of the step that makes it; that of a
    convolution is its module's."""

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    size: tuple[int, int] = (0, 0)
    """Height and width to which `resize` enlarges."""


@dataclass(frozen=True)
class Network:
    """Steps in the order of the run. The last one makes the answer."""

    image: str
    steps: tuple[Step, ...]
    convolutions: Mapping[str, Convolution]

    def users(self, value: str) -> list[Step]:
        """The steps that need a value."""
        return [step for step in self.steps if value in step.inputs]

    def widths(self) -> dict[str, int]:
        """The channels of each value."""
        widths = {self.image: 0}
        for step in self.steps:
            given = [widths[name] for name in step.inputs]
            if step.kind == "conv":
                convolution = self.convolutions[step.name]
                widths[step.name] = convolution.weight.shape[0]
                widths[step.inputs[0]] = convolution.weight.shape[1] * convolution.groups
            elif step.kind == "shuffle":
                widths[step.name] = given[0] // SHUFFLE**2
            else:
                widths[step.name] = sum(given) if step.kind == "concat" else given[0]
        return widths

    def sizes(self, shape: Sequence[int]) -> dict[str, tuple[int, int]]:
        """Height and width of each value, for a picture of this shape, 1 x C x H x W."""
        sizes = {self.image: (shape[2], shape[3])}
        for step in self.steps:
            height, width = sizes[step.inputs[0]]
            if step.kind == "conv":
                height, width = self.convolutions[step.name].answer_size(height, width)
            elif step.kind == "resize":
                height, width = step.size
            elif step.kind == "shuffle":
                height, width = height * SHUFFLE, width * SHUFFLE
            elif step.kind == "pool":
                height, width = -(-height // 2), -(-width // 2)
            sizes[step.name] = (height, width)
        return sizes

    def made(self, step: Step, inputs: Sequence[Tensor]) -> Tensor:
        """The value of a step, N x C x H x W."""
        if step.kind == "conv":
            return self.convolutions[step.name](inputs[0])
        if step.kind == "resize":
            return functional.interpolate(
                inputs[0], step.size, mode="bilinear", align_corners=False
            )
        return OPERATIONS[step.kind](inputs)

    def run(self, images: Tensor, made: "Maker | None" = None) -> Iterator[tuple[Step, Tensor]]:
        """Every step with its value. Values that nobody needs any more are dropped.

        `made`: what makes the values, instead of this network's own method.
        """
        make = made or self.made
        values = {self.image: images}
        last = {name: step.name for step in self.steps for name in step.inputs}
        for step in self.steps:
            values[step.name] = make(step, [values[name] for name in step.inputs])
            yield step, values[step.name]
            for name in {*step.inputs}:
                if last[name] == step.name:
                    del values[name]

    def answer(self, images: Tensor, made: "Maker | None" = None) -> Tensor:
        """What the last step makes."""
        [(_, value)] = deque(self.run(images, made), maxlen=1)
        return value


Maker = Callable[[Step, Sequence[Tensor]], Tensor]
"""(step, its inputs) -> its value."""

OPERATIONS: Mapping[Kind, Callable[[Sequence[Tensor]], Tensor]] = {
    "relu": lambda inputs: inputs[0].relu(),
    "shuffle": lambda inputs: functional.pixel_shuffle(inputs[0], SHUFFLE),
    "pool": lambda inputs: functional.max_pool2d(inputs[0], 2, ceil_mode=True),
    "concat": lambda inputs: torch.cat(list(inputs), dim=1),
    "add": lambda inputs: inputs[0] + inputs[1],
    "sigmoid": lambda inputs: inputs[0].sigmoid(),
}
