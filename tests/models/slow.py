"""Takes its time before the device, on it and after it, so that a test can meddle while it runs."""

import time

import numpy as np
import torch
from pydantic import Field

from tasks.models.base import Model, Output, Params


class Seconds(Params):
    """How long it takes, and what makes requests differ."""

    prepare_s: float = Field(0, ge=0, le=20)
    device_s: float = Field(0, ge=0, le=20)
    conclude_s: float = Field(0, ge=0, le=20)
    salt: int = 0


def preprocess(image, params):
    time.sleep(params.prepare_s)
    return np.full((1, 1, 1), params.device_s, np.float32)


def infer(session, batch):
    time.sleep(float(batch.max()))
    return list(torch.zeros(len(batch), 1))


def postprocess(output, image, params, wanted):
    time.sleep(params.conclude_s)
    return Output(data={"labels": []})


MODEL = Model(
    title="Slow",
    kind="labels",
    params=Seconds,
    load=lambda weights, device: None,
    preprocess=preprocess,
    infer=infer,
    postprocess=postprocess,
    bins=((1, 1),),
    max_batch=1,
    licence="Apache-2.0",
    intended_use="Tests.",
)
