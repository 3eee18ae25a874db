"""Networks that MNN runs on the CPU: one file each, in MNN's own format."""

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from tasks.imaging.types import Tensor


@dataclass(frozen=True)
class Session:
    """A network that is ready to run. It has room for one picture, so calls take turns."""

    network: Any
    """The interpreter, which holds the memory of the session."""
    session: Any
    turn: Lock


def load(file: Path, threads: int) -> Session:
    """The network in `file`, which has one input and one output of fixed shapes.

    It computes in float32 also on processors that know bfloat16: results are the same everywhere.
    MNN's older interface is used on purpose: a run lets other threads go on, which `MNN.nn` does
    not (it holds Python's lock).
    """
    import MNN

    network = MNN.Interpreter(str(file))
    how = {"backend": "CPU", "numThread": threads, "precision": "high"}
    return Session(network, network.createSession(how), Lock())


def run(session: Session, batch: Tensor) -> Tensor:
    """N x C x H x W float32 -> the answers, N x ..., in memory of their own."""
    with session.turn:
        return np.concatenate([_run(session, batch[n : n + 1]) for n in range(len(batch))])


def _run(session: Session, image: Tensor) -> Tensor:
    import MNN

    network = session.network
    given = network.getSessionInput(session.session)
    given.copyFrom(_tensor(MNN, np.ascontiguousarray(image, np.float32)))
    network.runSession(session.session)
    answer = network.getSessionOutput(session.session)
    filled = _tensor(MNN, np.empty(answer.getShape(), np.float32))
    answer.copyToHostTensor(filled)
    return np.array(filled.getNumpyData(), np.float32).reshape(answer.getShape())


def _tensor(mnn: Any, array: Tensor) -> Any:
    """A tensor of this content, channels first."""
    layout = mnn.Tensor_DimensionType_Caffe
    return mnn.Tensor(array.shape, mnn.Halide_Type_Float, array, layout)
