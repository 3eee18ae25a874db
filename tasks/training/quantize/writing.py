"""Writes a quantized network as ONNX with QuantizeLinear and DequantizeLinear."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tasks.training.quantize.calibrate import Quantized
from tasks.training.quantize.graph import Step

OPSET, IR_VERSION = 17, 8
"""Old enough for each runtime of the last years."""
LINEAR = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
POOLING = {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}


def onnx_file(quantized: Quantized, shape: Sequence[int]) -> bytes:
    """The file's bytes. It takes `image` of this shape and gives `answer`."""
    return _Writer(quantized).file(shape)


class _Writer:
    def __init__(self, quantized: Quantized) -> None:
        self._quantized = quantized
        self._network = quantized.plan.network
        self._widths = self._network.widths()
        self._nodes: list[Any] = []
        self._tensors: dict[str, Any] = {}
        self._names = {self._network.image: "image", self._network.steps[-1].name: "answer"}

    def file(self, shape: Sequence[int]) -> bytes:
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
        elif step.kind == "pool":
            self._node("MaxPool", inputs, out, **POOLING)
        elif step.kind == "concat":
            self._node("Concat", inputs, out, axis=1)
        elif step.kind == "resize":
            size = np.array([1, self._widths[step.name], *step.size], np.int64)
            self._node(
                "Resize", [*inputs, "", "", self._tensor(f"{out}_size", size)], out, **LINEAR
            )
        else:
            self._node(step.kind.capitalize(), inputs, out)

    def _input(self, name: str, user: Step) -> str:
        """The name of what a step gets: the value, or its form in 8 bits."""
        value = self._names[name]
        head = self._quantized.plan.edges.get((name, user.name))
        if head is None:
            return value
        rounded = f"{value}_rounded"
        if not any(rounded in node.output for node in self._nodes):
            scale = np.array(self._quantized.scales[head], np.float32)
            zero = self._tensor("zero", np.zeros((), np.uint8))
            by = [self._tensor(f"{value}_scale", scale), zero]
            self._node("QuantizeLinear", [value, *by], f"{value}_8")
            self._node("DequantizeLinear", [f"{value}_8", *by], rounded)
        return rounded

    def _convolution(self, name: str, inputs: Sequence[str], out: str) -> None:
        convolution = self._network.convolutions[name]
        bias = self._tensor(f"{out}_bias", convolution.bias.numpy())
        rounded = self._quantized.weights.get(name)
        if rounded is None:
            weight = self._tensor(f"{out}_weight", convolution.weight.numpy())
        else:
            numbers = self._tensor(f"{out}_numbers", rounded.numbers.numpy())
            scales = self._tensor(f"{out}_scales", rounded.scales.numpy())
            zeros = self._tensor(f"{out}_zeros", np.zeros(len(rounded.scales), np.int8))
            weight = f"{out}_weight"
            self._node("DequantizeLinear", [numbers, scales, zeros], weight, axis=0)
        self._node(
            "Conv",
            [*inputs, weight, bias],
            out,
            pads=[convolution.padding] * 4,
            dilations=[convolution.dilation] * 2,
        )

    def _node(self, kind: str, inputs: Sequence[str], output: str, **settings: Any) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [output], **settings))

    def _tensor(self, name: str, values: Any) -> str:
        """Adds a constant, once, and returns its name."""
        if name not in self._tensors:
            self._tensors[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name
