"""Networks that MNN runs on the CPU: one file each, in MNN's own format."""

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from tasks.imaging.types import Tensor

KEPT_PIXELS = 640 * 640
"""MNN keeps the memory that a network once needed, 170 MB for CenterFace and a picture of 1280 x
1280. For a picture larger than this, the network is loaded anew and then dropped, which takes a
fiftieth of the time of its run."""


class Session:
    """A network that is ready to run. It has room for one picture, so calls take turns."""

    def __init__(self, file: Path, threads: int) -> None:
        self._file, self._threads, self._turn = file, threads, Lock()
        self._network = _Network(file, threads)

    def run(self, image: Tensor) -> Tensor:
        """1 x C x H x W float32 -> the answer, in memory of its own."""
        with self._turn:
            if image.shape[2] * image.shape[3] > KEPT_PIXELS:
                return _Network(self._file, self._threads).run(image)
            return self._network.run(image)


def load(file: Path, threads: int) -> Session:
    """The network in `file`, which has one input and one output.

    It computes in float32 also on processors that know bfloat16: results are the same everywhere.
    """
    return Session(file, threads)


def run(session: Session, batch: Tensor) -> Tensor:
    """N x C x H x W float32 -> the answers, N x ..., in memory of their own."""
    return np.concatenate([session.run(batch[n : n + 1]) for n in range(len(batch))])


class _Network:
    """MNN's older interface is used on purpose: a run lets other threads go on, which `MNN.nn` does
    not (it holds Python's lock)."""

    def __init__(self, file: Path, threads: int) -> None:
        import MNN

        self._mnn, self._interpreter = MNN, MNN.Interpreter(str(file))
        how = {"backend": "CPU", "numThread": threads, "precision": "high"}
        self._session = self._interpreter.createSession(how)
        self._shape = tuple(self._input().getShape())

    def run(self, image: Tensor) -> Tensor:
        """Of another shape than the last one, the memory is arranged anew first (0.5 ms)."""
        if image.shape != self._shape:
            self._interpreter.resizeTensor(self._input(), image.shape)
            self._interpreter.resizeSession(self._session)
            self._shape = image.shape
        self._input().copyFrom(self._tensor(np.ascontiguousarray(image, np.float32)))
        self._interpreter.runSession(self._session)
        answer = self._interpreter.getSessionOutput(self._session)
        filled = self._tensor(np.empty(answer.getShape(), np.float32))
        answer.copyToHostTensor(filled)
        return np.array(filled.getNumpyData(), np.float32).reshape(answer.getShape())

    def _input(self) -> Any:
        return self._interpreter.getSessionInput(self._session)

    def _tensor(self, array: Tensor) -> Any:
        """A tensor of this content, channels first."""
        mnn = self._mnn
        layout = mnn.Tensor_DimensionType_Caffe
        return mnn.Tensor(array.shape, mnn.Halide_Type_Float, array, layout)
