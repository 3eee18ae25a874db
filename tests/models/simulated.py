"""A GPU that is not there: costs a + b*n ms, takes one batch at a time, has an end, and can break.

The variable SIMULATED sets it up, e.g. `a=8 b=0.5 pixels=65536 log=/tmp/batches`:
a, b       ms of a batch, and of each image in it (of the smallest bin; larger ones by their pixels)
pixels     of a batch above which the device is out of memory; `cpu_pixels` for the device `cpu`
log        file that gets one line per batch: n, height, width, what became of it, process
hangs      file whose absence makes an image with `fault=hang` hang, once: the hang creates it
Images are numbered by `salt`, and the answer says it again: nobody's answer is somebody else's.
"""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from tasks.models.base import Model, Output, Params

BINS = ((32, 32), (64, 64), (128, 128))
FAULTS = ("none", "poison", "hang")
HANG_S = 3600.0


class Simulated(Params):
    """What the image asks of the device."""

    salt: int = Field(default=0, title="Number", description="Below 2**24; the answer repeats it.")
    side: Literal[32, 64, 128] = 32
    fault: Literal["none", "poison", "hang"] = "none"


@dataclass(frozen=True)
class Device:
    """One simulated device; its lock is what makes it serial."""

    a_ms: float = 1.0
    b_ms: float = 0.1
    max_pixels: float = float("inf")
    log: Any = None
    hangs: str = ""
    turn: Any = None

    def run(self, batch: Any) -> Any:
        """N x 3 x H x W -> N x 1 x H x W, after the time that it takes."""
        n, _, height, width = batch.shape
        with self.turn:
            share = height * width / (BINS[0][0] * BINS[0][1])
            ends = time.perf_counter() + (self.a_ms + self.b_ms * n * share) / 1000
            fate = self._fate(batch)
            if self.log:  # while it is at work: what measures must not slow what it measures
                self.log.write(f"{n} {height} {width} {fate} {os.getpid()}\n".encode())
            if fate == "full":
                raise _out_of_memory(f"Tried to allocate {n} x {height} x {width}.")
            time.sleep(max(0.0, ends - time.perf_counter()))
            if fate == "hang":
                self._hang()
            if fate == "poison":
                raise ValueError("an image of this batch is poison")
        return batch[:, :1]

    def _fate(self, batch: Any) -> str:
        n, _, height, width = batch.shape
        if n * height * width > self.max_pixels:
            return "full"
        worst = int(batch.numpy()[:, 1, 0, 0].max())
        if FAULTS[worst] == "hang" and self.hangs and Path(self.hangs).exists():
            return "none"
        return FAULTS[worst]

    def _hang(self) -> None:
        if self.hangs:
            Path(self.hangs).touch()
        time.sleep(HANG_S)


def _out_of_memory(what: str) -> Exception:
    import torch

    return torch.OutOfMemoryError(f"CUDA out of memory. {what}")


def load(weights: Mapping[str, Path], device: str) -> Device:
    words = os.environ.get("SIMULATED", "").split()
    given = dict(word.split("=", 1) for word in words)
    pixels = "cpu_pixels" if device == "cpu" else "pixels"
    return Device(
        float(given.get("a", 1)),
        float(given.get("b", 0.1)),
        float(given.get(pixels, "inf")),
        open(given["log"], "ab", buffering=0) if "log" in given else None,
        given.get("hangs", ""),
        threading.Lock(),
    )


def preprocess(image: Any, params: Simulated) -> Any:
    """3 x side x side float32: the number, the fault, nothing."""
    array = np.zeros((3, params.side, params.side), np.float32)
    array[0], array[1] = params.salt, FAULTS.index(params.fault)
    return array


def postprocess(output: Any, image: Any, params: Simulated, wanted: Any) -> Output:
    return Output(data={"labels": [], "salt": int(output[0, 0, 0])})


MODEL = Model(
    title="Simulated device",
    kind="labels",
    params=Simulated,
    load=load,
    preprocess=preprocess,
    infer=lambda device, batch: device.run(batch),
    postprocess=postprocess,
    bins=BINS,
    licence="Apache-2.0",
    intended_use="Tests and benches.",
    decode="none",
)
