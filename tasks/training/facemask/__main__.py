"""Trains the classifier of `facemask`: python -m tasks.training.facemask --data DIR (see --help).

The detector that the model uses finds the faces in the pictures, and the annotations label what it
finds. So the classifier learns from the very crops that it will see, the detector's mistakes
included ("no face"). It starts from ImageNet features (EfficientNet-Lite0). Then its scores are
calibrated on pictures that it was not trained on.
"""

import argparse
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from tasks.models.nets.faces import CLASSES
from tasks.training.facemask.calibration import calibrate
from tasks.training.facemask.data import Sample, collect
from tasks.training.facemask.fit import out, train

EPOCHS = 14


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with annotations.json")
    parser.add_argument("--out", type=Path, default=Path("var/training/facemask"))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(os.cpu_count() or 1)
    samples = _cached(options.out / "samples.pt", lambda: list(collect(options.data)))
    out.print(_summary(samples))
    net = train(samples, options.out, options.epochs, options.device)
    fitted = calibrate(net, samples)
    target = options.out / "facemask.safetensors"
    state = {name: tensor.half().contiguous() for name, tensor in net.state_dict().items()}
    state["calibration"] = torch.tensor(fitted, dtype=torch.float32)
    save_file(state, target)
    out.print(f"{target}: {target.stat().st_size / 1e6:.2f} MB, sha256 {_sha256(target)}")


def _summary(samples: Sequence[Sample]) -> str:
    lines = []
    for split in sorted({sample.split for sample in samples}):
        counts = [sum(s.split == split and s.label == k for s in samples) for k in range(4)]
        lines.append(
            f"{split}: " + ", ".join(f"{n} {c}" for n, c in zip(CLASSES, counts, strict=True))
        )
    return "\n".join(lines)


def _cached(file: Path, make: Callable[[], list[Sample]]) -> list[Sample]:
    if file.exists():
        return [Sample(**fields) for fields in torch.load(file, weights_only=False)]
    samples = make()
    torch.save([vars(sample) for sample in samples], file)
    return samples


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
