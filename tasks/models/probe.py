"""The model of a probe, which is not offered to users: one small array that passes all stages.

A probe goes through the queue and the device of a real model: see tasks/message.py.
"""

import numpy as np

from tasks.models.base import Model, Output, Params

SIDE_PX = 8

MODEL = Model(
    title="Probe",
    kind="labels",
    params=Params,
    load=lambda weights, device: None,
    preprocess=lambda image, params: np.full((1, SIDE_PX, SIDE_PX), 0.5, np.float32),
    infer=lambda session, batch: batch,
    postprocess=lambda output, image, params, wanted: Output(
        images={"probe": np.rint(output[0] * 255).astype(np.uint8)}
    ),
    bins=((SIDE_PX, SIDE_PX),),
    max_batch=1,
    decode="none",
    licence="Apache-2.0",
    intended_use="Shows that work gets through.",
)
