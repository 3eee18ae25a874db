"""A network as a list of steps: what is quantized, run and written here.

It knows what nested U-shaped networks are made of: convolutions, ReLU, pooling by the largest,
bilinear enlarging, concatenation, sums, and one sigmoid.
"""

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Kind = Literal["conv", "relu", "pool", "resize", "concat", "add", "sigmoid"]
KINDS: Mapping[str, Kind] = {
    "aten.conv2d.default": "conv",
    "aten.relu.default": "relu",
    "aten.max_pool2d.default": "pool",
    "aten.upsample_bilinear2d.vec": "resize",
    "aten.cat.default": "concat",
    "aten.add.Tensor": "add",
    "aten.sigmoid.default": "sigmoid",
}


@dataclass(frozen=True)
class Convolution:
    """Weights O x I x K x K and biases O, with the distances between the weights' places."""

    weight: Tensor
    bias: Tensor
    dilation: int
    padding: int

    def __call__(self, features: Tensor) -> Tensor:
        """N x I x H x W -> N x O x H x W."""
        return functional.conv2d(
            features, self.weight, self.bias, padding=self.padding, dilation=self.dilation
        )


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
                weight = self.convolutions[step.name].weight
                widths[step.name] = weight.shape[0]
                widths[step.inputs[0]] = weight.shape[1]
            else:
                widths[step.name] = sum(given) if step.kind == "concat" else given[0]
        return widths

    def sizes(self, shape: Sequence[int]) -> dict[str, tuple[int, int]]:
        """Height and width of each value, for a picture of this shape, 1 x C x H x W."""
        sizes = {self.image: (shape[2], shape[3])}
        for step in self.steps:
            height, width = sizes[step.inputs[0]]
            if step.kind == "resize":
                height, width = step.size
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
    "pool": lambda inputs: functional.max_pool2d(inputs[0], 2, ceil_mode=True),
    "concat": lambda inputs: torch.cat(list(inputs), dim=1),
    "add": lambda inputs: inputs[0] + inputs[1],
    "sigmoid": lambda inputs: inputs[0].sigmoid(),
}


def of(net: nn.Module, shape: Sequence[int]) -> Network:
    """The network of a torch module that takes one picture of this shape, 1 x C x H x W.

    Raises ValueError for a module with anything else in it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.export warns of its own parts
        given = (torch.zeros(*shape),)
        exported = torch.export.export(net.eval(), given).run_decompositions({})
    parameters = dict(exported.graph_signature.inputs_to_parameters)
    state = exported.state_dict
    steps, names, convolutions = [], {}, {}
    image = exported.graph_signature.user_inputs[0]
    names[image] = str(image)
    for node in exported.graph.nodes:
        if node.op != "call_function":
            continue
        step = _step(node, names, parameters)
        names[node.name] = step.name
        steps.append(step)
        if step.kind == "conv":
            convolutions[step.name] = _convolution(node, parameters, state)
    return Network(str(image), tuple(steps), convolutions)


def _step(node: Any, names: Mapping[Any, str], parameters: Mapping[str, str]) -> Step:
    kind = KINDS.get(str(node.target))
    if kind is None:
        raise ValueError(f"cannot quantize {node.target}; expected one of: {', '.join(KINDS)}")
    if kind == "conv":
        name = parameters[node.args[1].name].removesuffix(".weight")
        return Step(name, kind, (names[node.args[0].name],))
    given = node.args[0] if kind == "concat" else node.args[: 2 if kind == "add" else 1]
    inputs = tuple(names[each.name] for each in given)
    if kind == "pool" and tuple(node.args[1:]) != POOLING:
        raise ValueError(f"cannot quantize pooling by {node.args[1:]}; expected {POOLING}")
    size = tuple(node.args[1]) if kind == "resize" else (0, 0)
    return Step(node.name, kind, inputs, size)


def _convolution(
    node: Any, parameters: Mapping[str, str], state: Mapping[str, Tensor]
) -> Convolution:
    """Raises ValueError if the convolution skips places, or has groups."""
    weight, bias = (state[parameters[node.args[k].name]].detach().float() for k in (1, 2))
    written = tuple(node.args[3:])
    strides, padding, dilation, groups = written + NO_SETTINGS[len(written) :]
    if set(strides) != {1} or groups != 1 or len({*padding}) != 1 or len({*dilation}) != 1:
        raise ValueError(f"cannot quantize {node.name}: strides {strides}, groups {groups}")
    return Convolution(weight.contiguous(), bias, dilation[0], padding[0])


POOLING: tuple[Any, ...] = ([2, 2], [], [0, 0], [1, 1], True)
"""Of squares of 2 x 2, at the border of what is left of one."""
NO_SETTINGS: tuple[Any, ...] = ([1, 1], [0, 0], [1, 1], 1)
"""Of a convolution's strides, padding, dilation and groups, where none are written down."""
