"""Makes a network in 8 bits: python -m tasks.training.quantize --photos DIR --network facemask.

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

import torch
from rich.console import Console
from rich.progress import Progress, TaskID
from torch import Tensor

from tasks.training.quantize import calibrate, reading, writing
from tasks.training.quantize.equalize import equalized
from tasks.training.quantize.plan import Plan
from tasks.training.quantize.recipes import RECIPES, Recipe, read
from tasks.training.quantize.simplify import simplified

EQUALIZED_BY, ROUNDED_BY, SCALED_BY = 12, 10, 45
"""Of how many photos the ranges of channels, the covariances of inputs, and the scales are."""
PATTERNS = ("*.jpg", "*.jpeg", "*.png", "*.webp")

out = Console(soft_wrap=True, highlight=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="pixelmill train quantize", description=__doc__)
    parser.add_argument("--photos", "--data", type=Path, required=True, help="folder with photos")
    parser.add_argument("--network", choices=sorted(RECIPES), default="matting")
    parser.add_argument("--out", type=Path, help="file to write; without it, the network's own")
    parser.add_argument("--seed", type=int, default=1, help="chooses the photos")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compare", type=int, default=220, help="photos to compare with torch on")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    photos = _photos(options.photos, options.seed)
    if len(photos) < SCALED_BY:
        parser.error(f"{options.photos} has {len(photos)} photos; expected {SCALED_BY} or more")
    with torch.inference_mode():
        recipe = RECIPES[options.network]()
        file = options.out or Path(recipe.file)
        _make(recipe, photos[:SCALED_BY], options.seed, file)
        _compare(recipe, photos[SCALED_BY : SCALED_BY + options.compare], file)


def _make(recipe: Recipe, photos: Sequence[Path], seed: int, file: Path) -> None:
    with Progress(console=out) as progress:
        images = [recipe.prepared(read(photo)) for photo in photos]
        report = _reporter(progress, progress.add_task("quantizing", total=None))
        data = quantized(recipe, images, seed, report)
    file.write_bytes(data)
    out.print(f"{file}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


def _compare(recipe: Recipe, photos: Sequence[Path], file: Path) -> None:
    if not photos:
        return
    with Progress(console=out) as progress:
        shown = progress.track(photos, description="comparing with torch")
        comparison = recipe.compared(file, (read(photo) for photo in shown))
    out.print(str(comparison))


def quantized(
    recipe: Recipe, images: Sequence[Tensor], seed: int, report: Callable[[str, int], object]
) -> bytes:
    """The ONNX file of a network in 8 bits, all but some convolutions.

    `images`: 1 x C x H x W each. `report`: told what was done, and of how many parts.
    """
    network = simplified(reading.of(recipe.net, images[0].shape))
    parts = len(network.convolutions) - len(recipe.floats) + 2
    plan = Plan(equalized(network, images[:EQUALIZED_BY]), recipe.floats)
    report("channels equalized", parts)
    scales = calibrate.scales_of(plan, images[:EQUALIZED_BY])
    random = torch.Generator().manual_seed(seed)
    batch = torch.cat(list(images[:ROUNDED_BY]))
    made = calibrate.weights_of(plan, scales, batch, random, lambda name: report(name, parts))
    made = replace(made, scales=calibrate.scales_of(made.plan, images))
    report("values scaled", parts)
    return writing.onnx_file(made, images[0].shape, any_size=recipe.any_size)


def _reporter(progress: Progress, task: TaskID) -> Callable[[str, int], object]:
    return lambda name, parts: progress.update(task, total=parts, advance=1, description=name)


def _photos(folder: Path, seed: int) -> list[Path]:
    """All photos of the folder in an order of the seed's."""
    found = sorted({file for pattern in PATTERNS for file in folder.glob(pattern)})
    Random(seed).shuffle(found)
    return found


if __name__ == "__main__":
    main()
