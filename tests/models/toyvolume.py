"""Finds what is brighter than a threshold in a volume: a model of volumes that is one file."""

import time

import numpy as np
from pydantic import Field

from tasks.imaging.volumes import viewer
from tasks.models.base import File, Model, Output, Params


class Settings(Params):
    """What counts as bright, and what a test needs."""

    threshold: int = Field(0, ge=-1024, le=3071, title="Threshold", description="In HU.")
    slow_ms: int = Field(0, ge=0, le=1000, title="Slow", description="Of each slice.")
    salt: int = 0


def preprocess(volume, params):
    stack = np.empty((len(volume.voxels), 2, 32, 32), np.float16)
    for number, one in enumerate(volume.voxels):
        rows = np.linspace(0, one.shape[0] - 1, 32).astype(int)
        columns = np.linspace(0, one.shape[1] - 1, 32).astype(int)
        stack[number, 0] = one[np.ix_(rows, columns)]
    stack[:, 1] = params.slow_ms
    return stack


def infer(session, batch):
    time.sleep(float(batch[:, 1, 0, 0].sum()) / 1000)
    return batch[:, :1]


def postprocess(outputs, volume, params, wanted):
    mask = volume.voxels > params.threshold
    labels = np.uint8(mask)
    labels[:, :, mask.shape[2] // 2 :] *= 2  # the body's left is at the right
    ml = float(np.prod(volume.spacing_mm)) / 1000
    regions = [
        {"label": name, "value": value, "ml": round(ml * int((labels == value).sum()), 1)}
        for value, name in ((2, "Left half"), (1, "Right half"))
    ]
    return Output(
        data={
            "means": [round(float(one.mean()), 2) for one in outputs],
            "bright": [int(one.sum()) for one in mask],
            "regions": regions,
        },
        images={"preview": np.repeat(np.uint8(mask[len(mask) // 2] * 255)[..., None], 3, 2)},
        files={
            "mask.bin": File(np.packbits(mask).tobytes(), "application/octet-stream"),
            viewer.NAME: File(viewer.packed(volume, labels), viewer.MEDIA_TYPE),
        },
        notes=volume.notes,
    )


MODEL = Model(
    title="Toy of volumes",
    kind="volume",
    input="volume",
    channels=2,
    params=Settings,
    load=lambda weights, device: None,
    preprocess=preprocess,
    infer=infer,
    postprocess=postprocess,
    bins=((32, 32),),
    max_batch=16,
    licence="Apache-2.0",
    intended_use="Shows that a model of volumes is one file.",
)
