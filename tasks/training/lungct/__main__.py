"""Trains the network of `lungct`: pixelmill train lungct --data DIR (see --help).

The network learns from slices of chest CT with contours of the lungs, one folder per patient. A
slice is cut to the body, and looks different each time: turned, scaled, noisy, of other sharpness.
"""

import argparse
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tasks.training.lungct import data
from tasks.training.lungct.fit import out, train

STEPS = 1200


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder per patient")
    parser.add_argument("--out", type=Path, default=Path("var/training/lungct"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--start", type=Path, help="weights to start from, which are then refined")
    parser.add_argument("--leave-out", action="append", default=[], help="a patient not to use")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    patients = data.without(data.read(options.data), options.leave_out)
    slices = sum(len(patient.slices) for patient in patients)
    out.print(f"{len(patients)} patients, {slices} slices")
    start = load_file(options.start) if options.start else {}
    net = train(patients, options.out, options.steps, options.device, start)
    target = options.out / "lungct.safetensors"
    save_file({name: each.half().contiguous() for name, each in net.state_dict().items()}, target)
    out.print(f"{target}: {target.stat().st_size / 1e6:.2f} MB, sha256 {_sha256(target)}")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
