"""Networks that OpenVINO runs on the CPU: one ONNX file each, quantized to 8 bits."""

import sys
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from tasks.imaging.types import Tensor
from tasks.models.nets import compiled

TELEMETRY = "openvino_telemetry"
"""The package with which `import openvino` reports its use to an analytics service, and writes an
identifier into the home folder."""


class Session:
    """A network that is ready to run. It has room for one picture, so calls take turns."""

    def __init__(self, network: Any) -> None:
        """`network`: as OpenVINO has compiled it."""
        self._request, self._turn = network.create_infer_request(), Lock()

    def run(self, image: Tensor) -> Tensor:
        """1 x C x H x W float32 -> the answer, in memory of its own."""
        with self._turn:
            self._request.infer([np.ascontiguousarray(image, np.float32)])
            return np.array(self._request.get_output_tensor().data, np.float32)


def load(file: Path, threads: int) -> Session:
    """The network in `file`, which has one input and one output.

    What is not in 8 bits is computed in float32 also on processors that know bfloat16. Several
    workers share the cores of a host, so none ties its threads to some of them. What was compiled
    before is loaded from where `compiled` keeps it.
    """
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    openvino = _silent()
    core, network = openvino.Core(), file.read_bytes()
    made_by = openvino.get_version(), core.get_property("CPU", "FULL_DEVICE_NAME"), settings
    kept = compiled.Kept(file.stem, network, repr(made_by).encode())
    if blob := kept.read():
        try:
            return Session(core.import_model(blob, "CPU", settings))
        except RuntimeError as error:
            kept.refused(error)
    fresh = core.compile_model(core.read_model(network), "CPU", settings)
    kept.write(lambda: fresh.export_model().getvalue())
    return Session(fresh)


def _silent() -> Any:
    """OpenVINO without its reports: it works without the package that sends them, and None here
    tells Python that there is no such package."""
    sys.modules[TELEMETRY] = None  # type: ignore[assignment] # so the import system has it
    import openvino

    return openvino
