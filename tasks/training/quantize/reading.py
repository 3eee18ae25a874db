"""Reads a network as a list of steps from a torch module."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tasks.training.quantize.graph import SHUFFLE, Convolution, Kind, Network, Step

KINDS: Mapping[str, Kind] = {
    "aten.conv2d.default": "conv",
    "aten.conv_transpose2d.input": "conv",
    "aten.relu.default": "relu",
    "aten.max_pool2d.default": "pool",
    "aten.upsample_bilinear2d.vec": "resize",
    "aten.cat.default": "concat",
    "aten.add.Tensor": "add",
    "aten.sigmoid.default": "sigmoid",
}
POOLING: tuple[Any, ...] = ([2, 2], [], [0, 0], [1, 1], True)
"""Of squares of 2 x 2, at the border of what is left of one."""
NO_SETTINGS: tuple[Any, ...] = ([1, 1], [0, 0], [1, 1], 1)
"""Of a convolution's strides, padding, dilation and groups, where none are written down."""


def of(net: nn.Module, shape: Sequence[int]) -> Network:
    """The network of a torch module that takes one picture of this shape, 1 x C x H x W.

    Raises ValueError for a module with anything else in it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.export warns of its own parts
        exported = torch.export.export(net.eval(), (torch.zeros(*shape),)).run_decompositions({})
    return _Reader(exported).network()


class _Reader:
    """What is known of an exported module while its nodes are read in the order of the run."""

    def __init__(self, exported: Any) -> None:
        self._nodes = [node for node in exported.graph.nodes if node.op == "call_function"]
        self._parameters = dict(exported.graph_signature.inputs_to_parameters)
        self._state = exported.state_dict
        self._image = str(exported.graph_signature.user_inputs[0])
        self._names = {self._image: self._image}
        self._steps: list[Step] = []
        self._convolutions: dict[str, Convolution] = {}

    def network(self) -> Network:
        for node in self._nodes:
            self._read(node)
        return Network(self._image, tuple(self._steps), self._convolutions)

    def _read(self, node: Any) -> None:
        step = self._step(node)
        self._steps.append(step)
        self._names[node.name] = step.name
        if step.kind != "conv":
            return
        self._convolutions[step.name] = self._convolution(node)
        if "transpose" in str(node.target):
            self._steps.append(Step(node.name, "shuffle", (step.name,)))
            self._names[node.name] = node.name

    def _step(self, node: Any) -> Step:
        kind = KINDS.get(str(node.target))
        if kind is None:
            raise ValueError(f"cannot quantize {node.target}; expected one of: {', '.join(KINDS)}")
        if kind == "conv":
            name = self._parameters[node.args[1].name].removesuffix(".weight")
            return Step(name, kind, (self._names[node.args[0].name],))
        given = node.args[0] if kind == "concat" else node.args[: 2 if kind == "add" else 1]
        if kind == "pool" and tuple(node.args[1:]) != POOLING:
            raise ValueError(f"cannot quantize pooling by {node.args[1:]}; expected {POOLING}")
        size = tuple(node.args[1]) if kind == "resize" else (0, 0)
        return Step(node.name, kind, tuple(self._names[each.name] for each in given), size)

    def _convolution(self, node: Any) -> Convolution:
        """Raises ValueError if the convolution does what is not known here."""
        weight, bias = (
            self._state[self._parameters[node.args[k].name]].detach().float() for k in (1, 2)
        )
        if "transpose" in str(node.target):
            return _enlarging(node, weight, bias)
        written = tuple(node.args[3:])
        strides, padding, dilation, groups = written + NO_SETTINGS[len(written) :]
        if any(len({*each}) != 1 for each in (strides, padding, dilation)):
            raise ValueError(f"cannot quantize {node.name}: {strides}, {padding}, {dilation}")
        return Convolution(weight.contiguous(), bias, dilation[0], padding[0], strides[0], groups)


def _enlarging(node: Any, weight: Tensor, bias: Tensor) -> Convolution:
    """A transposed convolution by squares, I x O x 2 x 2, as one of single places that makes the
    places of each square its channels."""
    if weight.shape[2:] != (SHUFFLE, SHUFFLE) or node.args[3:] != ([SHUFFLE, SHUFFLE],):
        raise ValueError(f"cannot quantize {node.name}: {tuple(weight.shape)}, {node.args[3:]}")
    into, out = weight.shape[:2]
    places = weight.permute(1, 2, 3, 0).reshape(out * SHUFFLE**2, into, 1, 1)
    return Convolution(places.contiguous(), bias.repeat_interleave(SHUFFLE**2), 1, 0)
