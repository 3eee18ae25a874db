"""make bench-batching: what size bins bring on photos of mixed sizes, in one process.

The same photos go through the batcher three times: each squeezed to one fixed size (what a service
does that distorts), each padded to the largest bin, each letterboxed into the bin that keeps its
detail with least padding. Once on a simulated device whose images cost by their pixels, once
through a small network on this CPU. Their longest sides are spread evenly (by ratio) from 24 to 128
pixels, their shapes from square to 2:1. The three take turns, so that a slow minute hits all.
"""

import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from options import parser, setting
from table import save, show, verdict

REPOSITORY = Path(__file__).parent.parent.parent
MODELS = f"{REPOSITORY / 'tests' / 'models'}:{REPOSITORY / 'tests' / 'bench' / 'models'}"
os.environ |= {"PIXELMILL_MODEL_PATHS": MODELS, "SIMULATED": "a=8 b=0.5"}
os.environ |= {"PIXELMILL_LOG_LEVEL": "warning"}
sys.path.insert(0, str(REPOSITORY))

from tasks.imaging import geometry  # noqa: E402
from tasks.log import configure  # noqa: E402
from workers.gpu.accelerator import Cpu  # noqa: E402
from workers.gpu.batcher import Batcher  # noqa: E402  (they read the environment)
from workers.gpu.device import Device  # noqa: E402

PHOTOS = setting("PHOTOS", 384, "photos a turn")
ROUNDS = 3
BINS = ((32, 32), (64, 64), (128, 128))
FIXED = (64, 64)

Prepare = Callable[[Any], Any]


def fixed(photo: Any) -> Any:
    return geometry.resize(photo, *FIXED)


def padded(photo: Any) -> Any:
    return geometry.letterbox(photo, *BINS[-1])[0]


def binned(photo: Any) -> Any:
    return geometry.letterbox(photo, *pick_bin(*photo.shape[:2]))[0]


def pick_bin(height: int, width: int) -> tuple[int, int]:
    """The bin that keeps most of the photo's detail; of equals the one with least padding."""

    def rank(shape: tuple[int, int]) -> tuple[float, int]:
        scale = min(1.0, shape[0] / height, shape[1] / width)
        return (-round(scale, 6), shape[0] * shape[1])

    return min(BINS, key=rank)


WAYS: dict[str, tuple[str, Prepare]] = {
    "fixed": (f"squeezed to {FIXED[0]} x {FIXED[1]}", fixed),
    "padded": (f"padded to {BINS[-1][0]} x {BINS[-1][1]}", padded),
    "binned": ("the smallest bin that keeps it", binned),
}


def main() -> None:
    parser(__doc__).parse_args()
    configure("warning")
    torch.set_num_threads(1)
    photos, figures = _photos(), {}
    for model, title in (("simulated", "simulated device, 8 + 0.5n ms at 32 x 32"),
                         ("convs", "a small network on one CPU thread")):  # fmt: skip
        device = Device(Cpu())
        device.load(model)
        rates: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way, (_, prepare) in WAYS.items():
                rates[way].append(_run(device, model, [_array(prepare(photo)) for photo in photos]))
        rows = []
        for way, (what, prepare) in WAYS.items():
            per_s, batch = (median(column) for column in zip(*rates[way], strict=True))
            pixels = sum(prepare(photo)[..., 0].size for photo in photos) / len(photos)
            figures[f"{model}_{way}_images_per_s"] = round(per_s, 1)
            figures[f"{model}_{way}_mean_batch"] = round(batch, 2)
            rows.append([way, what, f"{per_s:.0f}", f"{batch:.1f}", f"{pixels:.0f}"])
        show(title, ["way", "each photo is", "images/s", "mean batch", "pixels an image"], rows)
        gain = figures[f"{model}_binned_images_per_s"] / figures[f"{model}_padded_images_per_s"]
        figures[f"{model}_binned_times_padded"] = round(gain, 2)
    print()
    for model in ("simulated", "convs"):
        gain = figures[f"{model}_binned_times_padded"]
        verdict(f"{model}, binned against padded", gain, 1.3, at_most=False)
    save("batching", figures)


def _photos() -> list[Any]:
    dice = random.Random(7)
    sizes = []
    for _ in range(PHOTOS):
        longest = 24 * (128 / 24) ** dice.random()
        sides = [round(longest), round(longest / dice.uniform(1, 2))]
        dice.shuffle(sides)
        sizes.append(tuple(sides))
    noise = np.random.default_rng(7)
    return [noise.integers(0, 255, (*size, 3), np.uint8) for size in sizes]


def _array(image: Any) -> Any:
    array = np.ascontiguousarray(image.transpose(2, 0, 1).astype(np.float32)) / 255
    array[1, 0, 0] = 0  # where the simulated device looks for faults
    return array


def _run(device: Device, model: str, arrays: Sequence[Any]) -> tuple[float, float]:
    """(images/s, mean batch) of all of them, handed in at once."""
    batcher = Batcher(device.run, device.limit, slots=device.slots)
    began = time.perf_counter()
    futures = [batcher.submit((model, array.shape, "float32"), array) for array in arrays]
    for future in futures:
        future.result(120)
    spent_s = time.perf_counter() - began
    batcher.stop()
    return len(arrays) / spent_s, batcher.counts["items"] / batcher.counts["batches"]


if __name__ == "__main__":
    main()
