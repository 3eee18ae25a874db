"""Makes matting's network for the CPU: python -m tasks.training.convert --out matting.mnn.

U-2-NetP as it is, in the format of MNN, its weights as halves. Each file has another identifier of
MNN's inside, so its SHA-256 is new each time.
"""

import argparse
import hashlib
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from subprocess import DEVNULL, run
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console

from tasks.models import matting, registry, weights

CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv)"
"""MNN's converter itself. Its command `mnnconvert` would also report each use to MNN's makers, and
install a package of theirs for that. It prints what it does, and may end its process."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("matting.mnn"))
    options = parser.parse_args(arguments)
    net = matting.load(weights.fetch_model(registry.variant("matting")), "cpu")
    write(net.eval(), (1, 3, matting.SIDE, matting.SIDE), options.out)
    data = options.out.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    Console(soft_wrap=True).print(f"{options.out}: {len(data)} bytes, sha256 {digest}")


def write(net: Any, shape: Sequence[int], file: Path) -> None:
    """Write a torch module with one input of this shape and one output as MNN's `file`."""
    with TemporaryDirectory() as folder:
        onnx = Path(folder) / "network.onnx"
        names: dict[str, Any] = {"input_names": ["image"], "output_names": ["answer"]}
        with warnings.catch_warnings():
            # Of sizes that are written down as constants, which they are here, and of the exporter
            # that needs no further package.
            warnings.simplefilter("ignore")
            torch.onnx.export(net, (torch.zeros(*shape),), onnx, dynamo=False, **names)
        asked = ["-f", "ONNX", "--modelFile", str(onnx), "--MNNModel", str(file)]
        command = [sys.executable, "-c", CONVERT, *asked, "--bizCode", "pixelmill", "--fp16"]
        run(command, check=True, stdout=DEVNULL)


if __name__ == "__main__":
    main()
