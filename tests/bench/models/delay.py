"""A matte after a given time: the stand-in for a model on a GPU in benches of the page."""

import time

import numpy as np

from tasks.models.base import Model, Output
from tasks.models.cutouts import CutoutParams

DELAY_S = 0.25
SIDE = 256


def infer(session, batch):
    time.sleep(DELAY_S)
    return list(batch[:, 0])


def postprocess(output, image, params, wanted):
    """An ellipse at the image's size."""
    height, width = image.shape[:2]
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return Output(images={"alpha": np.clip((1 - x * x - y * y) * 900, 0, 255).astype(np.uint8)})


MODEL = Model(
    title="Delay",
    kind="matte",
    params=CutoutParams,
    load=lambda weights, device: None,
    preprocess=lambda image, params: np.zeros((3, SIDE, SIDE), np.float32),
    infer=infer,
    postprocess=postprocess,
    bins=((SIDE, SIDE),),
    max_batch=1,
    licence="Apache-2.0",
    intended_use="Benches.",
)
