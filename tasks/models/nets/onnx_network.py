"""Networks in ONNX files, run by onnxruntime (the extra `onnx`): no port to torch is needed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.settings import settings

if TYPE_CHECKING:  # torch is imported where inference runs, and only there
    import torch

FILE = "onnx"
"""Name of the tensor that holds the file's bytes."""


def pack(onnx_file: bytes) -> Mapping[str, Any]:
    """For a weight's `convert`: the file itself as the one tensor of the stored weights."""
    import torch

    return {FILE: torch.frombuffer(bytearray(onnx_file), dtype=torch.uint8)}


def load(weights: Mapping[str, Path], device: str) -> Any:
    """For a model's `load`: the one network on the device, or on the CPU where this onnxruntime
    cannot use the device."""
    import onnxruntime
    from safetensors.numpy import load_file

    (file,) = weights.values()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings().threads
    wanted = ["CUDAExecutionProvider"] if device == "cuda" else []
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    return onnxruntime.InferenceSession(
        load_file(file)[FILE].tobytes(), options, [*providers, "CPUExecutionProvider"]
    )


def run(session: Any, batch: "torch.Tensor") -> Sequence["torch.Tensor"]:
    """N x C x H x W -> the network's first output, one 1 x H x W or so per image.

    Images go one by one, as most files take just one.
    """
    import torch

    name = session.get_inputs()[0].name
    images = np.ascontiguousarray(batch.cpu().numpy())
    return [torch.from_numpy(session.run(None, {name: image[None]})[0][0]) for image in images]
