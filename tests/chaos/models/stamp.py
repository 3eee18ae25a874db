"""The negative of a small picture: a model whose result is known to the byte, and that can crash.

A marked picture brings its process down: one mark the process that decodes, the other the worker's.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from tasks.imaging import codec, helper
from tasks.models.base import Model, Output, Params

SIDES = (48, 64)
WORKER_MARK = (3, 1, 4)
"""The first pixel."""
STAGE_S = float(os.environ.get("STAMP_STAGE_S", "0.05"))
"""Each stage takes so long: hundreds of jobs are in flight when a fault strikes."""

DECODER = "fragile_decoder:decode"
"""In the folder above; only in the sandbox it is imported."""

sys.path.append(str(Path(__file__).parents[1]))
codec.DECODER = DECODER
helper.stop()  # the next helper finds that folder as well


def preprocess(image, params):
    if tuple(image[0, 0]) == WORKER_MARK:
        os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(STAGE_S)
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)


def infer(session, batch):
    time.sleep(STAGE_S)
    return 255 - batch


def postprocess(output, image, params, wanted):
    time.sleep(STAGE_S)
    negative = output.astype(np.uint8).transpose(1, 2, 0)
    return Output(images={"preview.png": np.ascontiguousarray(negative)})


MODEL = Model(
    title="Stamp",
    kind="labels",
    params=Params,
    load=lambda weights, device: None,
    preprocess=preprocess,
    infer=infer,
    postprocess=postprocess,
    bins=(SIDES,),
    licence="Apache-2.0",
    intended_use="Chaos tests.",
)
