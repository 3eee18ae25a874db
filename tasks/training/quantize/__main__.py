"""Makes the network of `matting` in 8 bits: python -m tasks.training.quantize --photos DIR.

It is made of torch's weights, without training: sums and maps get a form that costs less, channels
are equalized, weights rounded by the covariance of their inputs, and values scaled by the largest
ones in some of the photos, which are chosen by the seed. It is then compared with torch on other
photos of the folder. The photos need no annotations; they should show what users send.
"""

import argparse
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress, TaskID
from torch import Tensor, nn

from tasks.models import matting, registry, weights
from tasks.training.quantize import calibrate, graph, writing
from tasks.training.quantize.comparison import compare
from tasks.training.quantize.equalize import equalized
from tasks.training.quantize.plan import Plan
from tasks.training.quantize.simplify import simplified

FLOATS = ("encoder.0.enter.0", "decoder.3.up.4.0")
"""Convolutions that stay in float32. The first one sees the photo. The sums of the second cancel
values of a thousand and more."""
EQUALIZED_BY, ROUNDED_BY, SCALED_BY = 12, 10, 45
"""Of how many photos the ranges of channels, the covariances of inputs, and the scales are."""
PATTERNS = ("*.jpg", "*.jpeg", "*.png", "*.webp")

out = Console(soft_wrap=True, highlight=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="pixelmill train quantize", description=__doc__)
    parser.add_argument("--photos", "--data", type=Path, required=True, help="folder with photos")
    parser.add_argument("--out", type=Path, default=Path("matting.int8.onnx"), help="file to write")
    parser.add_argument("--seed", type=int, default=1, help="chooses the photos")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compare", type=int, default=220, help="photos to compare with torch on")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    photos = _photos(options.photos, options.seed)
    if len(photos) < SCALED_BY:
        parser.error(f"{options.photos} has {len(photos)} photos; expected {SCALED_BY} or more")
    net = matting.load(weights.fetch_model(registry.variant("matting")), "cpu")
    with torch.inference_mode(), Progress(console=out) as progress:
        images = [_prepared(photo) for photo in photos[:SCALED_BY]]
        steps = progress.add_task("quantizing", total=None)
        data = quantized(net.nets[0], images, FLOATS, options.seed, _reporter(progress, steps))
    options.out.write_bytes(data)
    out.print(f"{options.out}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
    others = photos[SCALED_BY : SCALED_BY + options.compare]
    if not others:
        return
    with Progress(console=out) as progress:
        shown = progress.track(others, description="comparing with torch")
        comparison = compare(net, options.out, (_prepared(photo).numpy() for photo in shown))
    out.print(str(comparison))


def quantized(
    net: nn.Module,
    images: Sequence[Tensor],
    floats: Sequence[str],
    seed: int,
    report: Callable[[str, int], object],
) -> bytes:
    """The ONNX file of a network in 8 bits, all but the convolutions in `floats`.

    `images`: 1 x C x H x W each. `report`: told what was done, and of how many parts.
    """
    network = simplified(graph.of(net, images[0].shape))
    parts = len(network.convolutions) - len(floats) + 2
    plan = Plan(equalized(network, images[:EQUALIZED_BY]), floats)
    report("channels equalized", parts)
    scales = calibrate.scales_of(plan, images[:EQUALIZED_BY])
    random = torch.Generator().manual_seed(seed)
    batch = torch.cat(list(images[:ROUNDED_BY]))
    made = calibrate.weights_of(plan, scales, batch, random, lambda name: report(name, parts))
    made = replace(made, scales=calibrate.scales_of(made.plan, images))
    report("values scaled", parts)
    return writing.onnx_file(made, images[0].shape)


def _reporter(progress: Progress, task: TaskID) -> Callable[[str, int], object]:
    return lambda name, parts: progress.update(task, total=parts, advance=1, description=name)


def _photos(folder: Path, seed: int) -> list[Path]:
    """All photos of the folder in an order of the seed's."""
    found = sorted({file for pattern in PATTERNS for file in folder.glob(pattern)})
    Random(seed).shuffle(found)
    return found


def _prepared(file: Path) -> Tensor:
    """A photo as the network gets it, 1 x 3 x 320 x 320."""
    pixels = cv2.imread(str(file), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise SystemExit(f"{file} is no picture that OpenCV reads")
    image = np.asarray(pixels, np.uint8)
    return torch.from_numpy(matting.preprocess(image, matting.Matting(effort="fast"))[None])


if __name__ == "__main__":
    main()
