"""Brightens a photo: a model of somebody else's, in one file, that imports torch at its top."""

import numpy as np
import torch
from pydantic import Field

from tasks.imaging import geometry
from tasks.models.base import Model, Output, Params


class Settings(Params):
    """What the form asks for."""

    gain: float = Field(1.5, ge=0, le=4, title="Gain", description="Times as bright.")


def preprocess(image, params):
    small = geometry.resize(image, 64, 64)
    return (small.transpose(2, 0, 1) / 255).astype(np.float32)


def postprocess(output, image, params, wanted):
    bright = np.clip(output * params.gain * 255, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return Output(data={"gain": params.gain}, images={"preview.png": np.ascontiguousarray(bright)})


MODEL = Model(
    title="Toy brightener",
    kind="labels",
    params=Settings,
    load=lambda weights, device: torch.nn.Identity().to(device),
    preprocess=preprocess,
    infer=lambda session, batch: session(batch),
    postprocess=postprocess,
    bins=((64, 64),),
    licence="Apache-2.0",
    intended_use="Shows that a model is one file.",
)
