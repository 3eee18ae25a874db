"""Writes a quantized network as ONNX with QuantizeLinear and DequantizeLinear."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from tasks.training.quantize import maps
from tasks.training.quantize.calibrate import Quantized
from tasks.training.quantize.graph import SHUFFLE, Step

OPSET, IR_VERSION = 17, 8
"""Old enough for each runtime of the last years."""
LINEAR = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
NODES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "pool": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    "concat": ("Concat", {"axis": 1}),
    "shuffle": ("DepthToSpace", {"blocksize": SHUFFLE, "mode": "CRD"}),
    "relu": ("Relu", {}),
    "add": ("Add", {}),
    "sigmoid": ("Sigmoid", {}),
}
"""Kind of a step -> ONNX's name of it, with settings."""


def onnx_file(quantized: Quantized, shape: Sequence[int], *, any_size: bool = False) -> bytes:
    """The file's bytes. It takes `image` of this shape, or also of other heights and widths, and
    gives `answer`."""
    return _Writer(quantized, shape).file([*shape[:2], "H", "W"] if any_size else shape)


class _Writer:
    def __init__(self, quantized: Quantized, shape: Sequence[int]) -> None:
        self._quantized = quantized
        self._network = quantized.plan.network
        self._widths = self._network.widths()
        self._sizes = self._network.sizes(shape)
        self._nodes: list[Any] = []
        self._tensors: dict[str, Any] = {}
        self._names = {self._network.image: "image", self._network.steps[-1].name: "answer"}

    def file(self, shape: Sequence[int | str]) -> bytes:
        for step in self._network.steps:
            self._write(step)
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
        answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["N", "C", "H", "W"])
        tensors = list(self._tensors.values())
        graph = helper.make_graph(self._nodes, "network", [image], [answer], tensors)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))

    def _write(self, step: Step) -> None:
        inputs = [self._input(name, step) for name in step.inputs]
        out = self._names.setdefault(step.name, f"v{len(self._names)}")
        if step.kind == "conv":
            self._convolution(step.name, inputs, out)
        elif step.kind == "resize" and self._widths[step.name] == 1:
            self._enlarged_map(step, inputs[0], out)
        elif step.kind == "resize":
            size = np.array([1, self._widths[step.name], *step.size], np.int64)
            self._node(
                "Resize", [*inputs, "", "", self._tensor(f"{out}_size", size)], out, **LINEAR
            )
        else:
            kind, settings = NODES[step.kind]
            self._node(kind, inputs, out, **settings)

    def _input(self, name: str, user: Step) -> str:
        """The name of what a step gets: the value, or its form in 8 bits."""
        value = self._names[name]
        head = self._quantized.plan.edges.get((name, user.name))
        if head is None:
            return value
        rounded = f"{value}_rounded"
        if not any(rounded in node.output for node in self._nodes):
            scale = self._quantized.scales[head]
            nothing = ("zero_signed", np.int8) if scale.signed else ("zero", np.uint8)
            zero = self._tensor(nothing[0], np.zeros((), nothing[1]))
            by = [self._tensor(f"{value}_scale", np.array(scale.size, np.float32)), zero]
            self._node("QuantizeLinear", [value, *by], f"{value}_8")
            self._node("DequantizeLinear", [f"{value}_8", *by], rounded)
        return rounded

    def _enlarged_map(self, step: Step, value: str, out: str) -> None:
        old, new = self._sizes[step.inputs[0]], step.size
        rows, columns = (
            self._tensor(f"enlarging_{each[0]}_{each[1]}", maps.enlarging(*each))
            for each in zip(old, new, strict=True)
        )
        self._node("Transpose", [columns], f"{out}_columns", perm=[1, 0])
        self._node("MatMul", [rows, value], f"{out}_tall")
        self._node("MatMul", [f"{out}_tall", f"{out}_columns"], out)

    def _convolution(self, name: str, inputs: Sequence[str], out: str) -> None:
        convolution, rounded = self._network.convolutions[name], self._quantized.weights.get(name)
        numbers = convolution.weight if rounded is None else rounded.numbers
        scales = None if rounded is None else rounded.scales
        places: dict[str, Any] = {
            "pads": [convolution.padding] * 4,
            "dilations": [convolution.dilation] * 2,
        }
        if maps.is_map(convolution, self._sizes[name]):
            count, by_square = maps.BLOCK**2, f"{out}_squares"
            scales = None if scales is None else scales.repeat(count)
            given = [*inputs, self._weight(out, maps.by_square(numbers), scales)]
            bias = self._tensor(f"{out}_bias", convolution.bias.repeat(count).numpy())
            self._node("Conv", [*given, bias], by_square, **places, strides=[maps.BLOCK] * 2)
            self._node("DepthToSpace", [by_square], out, blocksize=maps.BLOCK)
            return
        bias = self._tensor(f"{out}_bias", convolution.bias.numpy())
        given = [*inputs, self._weight(out, numbers, scales), bias]
        if convolution.stride > 1:
            places["strides"] = [convolution.stride] * 2
        if convolution.groups > 1:
            places["group"] = convolution.groups
        self._node("Conv", given, out, **places)

    def _weight(self, out: str, numbers: Tensor, scales: Tensor | None) -> str:
        if scales is None:
            return self._tensor(f"{out}_weight", numbers.numpy())
        by = [
            self._tensor(f"{out}_scales", scales.numpy()),
            self._tensor(f"{out}_zeros", np.zeros(len(scales), np.int8)),
        ]
        given = [self._tensor(f"{out}_numbers", numbers.numpy()), *by]
        self._node("DequantizeLinear", given, f"{out}_weight", axis=0)
        return f"{out}_weight"

    def _node(self, kind: str, inputs: Sequence[str], output: str, **settings: Any) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [output], **settings))

    def _tensor(self, name: str, values: Any) -> str:
        """Adds a constant, once, and returns its name."""
        if name not in self._tensors:
            self._tensors[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name
