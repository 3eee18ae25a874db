"""A device that takes ORDERED_MS per image, and writes whose run began when to ORDERED_LOG."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from tasks.models.base import Model, Output, Params


class Salt(Params):
    salt: int = 0


def infer(session: object, batch: Any) -> Any:
    with Path(os.environ["ORDERED_LOG"]).open("a") as log:
        log.writelines(f"{int(image[0, 0, 0])} {time.time() * 1000}\n" for image in batch)
    time.sleep(float(os.environ["ORDERED_MS"]) / 1000 * len(batch))
    return batch


MODEL = Model(
    title="Ordered",
    kind="labels",
    params=Salt,
    load=lambda weights, device: None,
    preprocess=lambda image, params: np.full((3, 8, 8), params.salt, np.float32),
    infer=infer,
    postprocess=lambda output, image, params, wanted: Output(data={}),
    bins=((8, 8),),
    max_batch=1,
    licence="Apache-2.0",
    intended_use="Benches.",
    decode="none",
)
