"""A model of volumes on a simulated device, which takes a batch at a time: 5 ms and 0.5 ms a slice.

For `make bench-volumes`. The answer repeats the volume's first voxel: nobody's answer is somebody
else's.
"""

import threading
import time

import numpy as np

from tasks.models.base import Model, Output, Params

A_S, B_S, SIDE = 0.005, 0.0005, 32


class Nothing(Params):
    """Nothing can be chosen."""


def preprocess(volume, params):
    return volume.voxels[:, None, :SIDE, :SIDE].astype(np.float16)


def infer(session, batch):
    with session:
        time.sleep(A_S + B_S * len(batch))
    return batch[:, :, :1, :1]


def postprocess(outputs, volume, params, wanted):
    number = int(volume.voxels[0, 0, 0])
    return Output(data={"regions": [], "slices": len(outputs), "number": number})


MODEL = Model(
    title="Simulated scans",
    kind="volume",
    input="volume",
    channels=1,
    params=Nothing,
    load=lambda weights, device: threading.Lock(),
    preprocess=preprocess,
    infer=infer,
    postprocess=postprocess,
    bins=((SIDE, SIDE),),
    max_batch=32,  # slices of several volumes share a batch
    licence="Apache-2.0",
    intended_use="Benches.",
)
