"""Makes a model's networks for the CPU: python -m tasks.training.convert facemask --out folder.

The networks as they are, in the format of MNN, their weights as halves. Each file has another
identifier of MNN's inside, so its SHA-256 is new each time.
"""

import argparse
import hashlib
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, run
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console

from tasks.imaging.volumes.lungs import SIDE
from tasks.models import classify, facemask, lungct, matting, registry, weights
from tasks.models.nets.facemask import Rater
from tasks.models.nets.faces import CROP

CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv)"
"""MNN's converter itself. Its command `mnnconvert` would also report each use to MNN's makers, and
install a package of theirs for that. It prints what it does, and may end its process."""

Networks = Mapping[str, tuple[Any, int, bool]]
"""Name of the file -> network, side of the picture that it takes, whether it takes others too."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("--out", type=Path, default=Path("."))
    options = parser.parse_args(arguments)
    files = weights.fetch_model(registry.variant(options.model))
    for name, (net, side, any_size) in MODELS[options.model](files).items():
        file = options.out / name
        write(net, side, file, any_size=any_size, channels=registry.get(options.model).channels)
        data = file.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        Console(soft_wrap=True).print(f"{file}: {len(data)} bytes, sha256 {digest}")


def write(net: Any, side: int, file: Path, *, any_size: bool = False, channels: int = 3) -> None:
    """Write a torch module with one picture as its input and one output as MNN's `file`."""
    sizes = {"dynamic_axes": {"image": {2: "height", 3: "width"}}} if any_size else {}
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["answer"], **sizes}
    with TemporaryDirectory() as folder:
        onnx = Path(folder) / "network.onnx"
        with warnings.catch_warnings():
            # Of sizes that are written down as constants, which they are here, and of the exporter
            # that needs no further package.
            warnings.simplefilter("ignore")
            given = (torch.zeros(1, channels, side, side),)
            torch.onnx.export(net.eval(), given, onnx, dynamo=False, **names)
        asked = ["-f", "ONNX", "--modelFile", str(onnx), "--MNNModel", str(file)]
        command = [sys.executable, "-c", CONVERT, *asked, "--bizCode", "pixelmill", "--fp16"]
        run(command, check=True, stdout=DEVNULL)


def _matting(files: Mapping[str, Path]) -> Networks:
    return {"matting.mnn": (matting.load(files, "cpu").nets[0], matting.SIDE, False)}


def _classify(files: Mapping[str, Path]) -> Networks:
    return {"classify.mnn": (classify.load(files, "cpu"), classify.SIDE, False)}


def _facemask(files: Mapping[str, Path]) -> Networks:
    session = facemask.load(files, "cpu")
    rater = Rater(session.classifier, session.calibration)
    return {
        "facemask-detector.mnn": (session.detector, 640, True),
        "facemask-classifier.mnn": (rater, CROP, False),
    }


def _lungct(files: Mapping[str, Path]) -> Networks:
    return {"lungct.mnn": (lungct.load(files, "cpu"), SIDE, False)}


MODELS: Mapping[str, Callable[[Mapping[str, Path]], Networks]] = {
    "classify": _classify,
    "facemask": _facemask,
    "lungct": _lungct,
    "matting": _matting,
}


if __name__ == "__main__":
    main()
