"""make bench-lungct ARGS="--data DIR": how well the lungs of each patient are found, and its cost.

`--data` is a folder as `pixelmill train lungct` takes it. Patients that the weights have seen are
marked: those of the shipped ones, or with `--weights FILE` (run by torch) those of `--seen`. Left
and right are not told apart in such masks, so there is one Dice per patient. The classical method
(HU below -320 within the body, the two largest components, small holes filled) is measured beside.
Cost is CPU on one thread, of the engine that runs without a GPU.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from table import save, show, verdict

from tasks.imaging.volumes import along, components, lungs
from tasks.imaging.volumes.grid import USUAL, placed
from tasks.imaging.volumes.volume import Volume
from tasks.models import lungct, weights
from tasks.settings import settings
from tasks.training.lungct import data

SEEN = ("S1-101", "S1-102", "S1-104", "S1-201", "S1-202")
"""Ends of the names of the patients that the shipped weights were trained on."""
SLICE_MM = 3.0
"""Distance of the slices of the data."""
LARGE = (300, 512, 512)

Infer = Callable[[np.ndarray], np.ndarray]
"""N x 1 x 256 x 256 float32 -> N x 1 x 256 x 256, 0..1."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder per patient")
    parser.add_argument("--weights", type=Path, help="other weights than the shipped ones")
    parser.add_argument("--seen", nargs="*", default=SEEN, help="ends of names of seen patients")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    infer = other(asked.weights) if asked.weights else shipped()
    rows, unseen = [], []
    for patient in data.read(asked.data):
        ours, seconds = found(infer, patient.slices)
        is_seen = patient.name.endswith(tuple(asked.seen) or ("\0",))
        row = agreement(ours, patient.lungs)
        rows.append(
            [
                patient.name,
                "yes" if is_seen else "no",
                *row,
                *agreement(classical(patient.slices), patient.lungs),
                round(seconds * 100 / len(patient.slices), 2),
            ]
        )
        if not is_seen:
            unseen.append(row)
    show(
        "U-Net, then the classical method",
        ["patient", "trained on", *2 * ["Dice", "5th percentile", "false", "missed"], "s/100"],
        rows,
    )
    figures = {"cpu_s_per_100_slices": max(row[-1] for row in rows)}
    if unseen:
        figures |= {
            "dice": float(np.mean([row[0] for row in unseen])),
            "false_slices": float(max(row[2] for row in unseen)),
        }
        verdict("dice of patients not trained on", figures["dice"], 0.975, at_most=False)
        verdict("false slices of a patient not trained on", figures["false_slices"], 1)
    verdict("cpu_s_per_100_slices", figures["cpu_s_per_100_slices"], 4)
    figures |= _large(infer)
    save("lungct", {name: round(value, 4) for name, value in figures.items()})


def shipped() -> Infer:
    """The shipped network as a host without a GPU runs it."""
    cpu = lungct.MODEL.cpu["mnn"]
    files = {k: weights.fetch(w, settings().weights_path) for k, w in cpu.weights.items()}
    session = cpu.load(files, 1)
    return lambda batch: np.stack(cpu.infer(session, batch))


def other(file: Path) -> Infer:
    """A network of other weights, by torch."""
    import torch

    torch.set_num_threads(1)
    session = lungct.load({"lungct": file}, "cpu")
    return lambda batch: np.stack(
        [each.numpy() for each in lungct.infer(session, torch.from_numpy(batch))]
    )


def found(
    infer: Infer, slices: np.ndarray, distance_mm: float = SLICE_MM
) -> tuple[np.ndarray, float]:
    """Z x H x W of what the model calls lung, and its CPU seconds from HU to the answer's mask."""
    began = time.process_time()
    prepared = lungct.preprocess(volume(slices), lungct.LungCt())
    scores = np.concatenate(
        [infer(prepared[z : z + 16].astype(np.float32)) for z in range(0, len(prepared), 16)]
    )
    smooth = along.averaged(scores[:, 0].astype(np.float16), distance_mm)
    mask = lungs.find(smooth, slices).mask > 0
    return mask, time.process_time() - began


def volume(slices: np.ndarray) -> Volume:
    grid, _ = placed(slices.shape, USUAL)
    return Volume(slices, (SLICE_MM, 1.0, 1.0), grid.as_json())


def agreement(ours: np.ndarray, theirs: np.ndarray) -> list[Any]:
    """Dice of the volume, the 5th percentile of slices, slices with false lung, slices missed."""
    both, sizes = (ours & theirs).sum(axis=(1, 2)), ours.sum(axis=(1, 2)) + theirs.sum(axis=(1, 2))
    has = theirs.any(axis=(1, 2))
    per_slice = 2 * both[has] / sizes[has]
    false, missed = ours.any(axis=(1, 2)) & ~has, has & ~ours.any(axis=(1, 2))
    whole = 2 * both.sum() / max(1, sizes.sum())
    return [
        round(float(whole), 4),
        round(float(np.percentile(per_slice, 5)), 3),
        int(false.sum()),
        int(missed.sum()),
    ]


def classical(slices: np.ndarray) -> np.ndarray:
    """What is dark within the body: the two largest components."""
    body = np.stack([_body(slice_) for slice_ in slices])
    labels, count = components.label((slices < -320) & body)
    sizes = np.bincount(labels.reshape(-1), minlength=count + 1)
    sizes[0] = 0
    mask: np.ndarray = np.isin(labels, np.argsort(sizes)[-2:]) & (sizes[labels] > 0)
    for z in np.flatnonzero(mask.any(axis=(1, 2))):
        mask[z] = components.filled(mask[z].astype(np.uint8), 100) > 0
    return mask


def _body(slice_: np.ndarray) -> np.ndarray:
    """The largest thing that is no air, with what it surrounds; the table is cut off."""
    solid = cv2.morphologyEx((slice_ > -320).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5)))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(solid)
    if count < 2:
        return np.zeros(slice_.shape, bool)
    largest = parts == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
    return components.filled(largest.astype(np.uint8), slice_.size) > 0


def _large(infer: Infer) -> dict[str, float]:
    """CPU and memory of a volume of 300 slices of 512 x 512: ellipses in an ellipse."""
    z, y, x = np.ogrid[-1 : 1 : LARGE[0] * 1j, -1 : 1 : LARGE[1] * 1j, -1 : 1 : LARGE[2] * 1j]
    slices = np.where(x**2 / 0.8 + y**2 / 0.4 + 0 * z < 1, 40, -1000).astype(np.int16)
    for side in (-1, 1):
        slices[((x - 0.4 * side) / 0.3) ** 2 + (y / 0.4) ** 2 + (z / 0.8) ** 2 < 1] = -850
    mask, seconds = found(infer, slices)
    lungct_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    share = mask.mean()
    print(f"300 slices of 512 x 512: {seconds * 100 / LARGE[0]:.2f} s per 100; {share:.1%} is lung")
    verdict("peak memory of 300 x 512 x 512 in GiB", lungct_memory, 1.2)
    return {"cpu_s_per_100_large": seconds * 100 / LARGE[0], "peak_gib_large": lungct_memory}


if __name__ == "__main__":
    main()
