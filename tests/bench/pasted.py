"""Makes photos with known mattes: things cut out by hand, laid over photos without a subject.

    python tests/bench/pasted.py CUTOUTS GROUNDS TARGET [--each 2 --seed 1]

CUTOUTS holds PNGs with alpha, GROUNDS photos. Each cut-out lies over `--each` grounds, in a random
half of them in TARGET/choose, in the other half in TARGET/confirm, so that no cut-out is in both:
constants are chosen by the first alone. `make bench-quality ARGS="--data TARGET/confirm"` measures.

The ground is made as sharp as the cut-out at most, both are brought halfway to one brightness, and
the cut-out's edge is softened by half a pixel, as by a lens: what shows a pasting helps a network.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from options import parser

from tasks.imaging import geometry

SIDES = 320, 768
"""Of a picture, in pixels."""
SHARE = 0.55, 1.15
"""Of the picture's side that the longer side of the cut-out takes: beyond 1 it is cut off below or
at the right."""
PART = 0.6, 1.0
"""Of the ground's shorter side that is seen."""
ASIDE = 0.3
"""Of the room beside the cut-out: how far from the middle it may lie at most."""
DEFOCUS_PX = 3.0
"""Of the ground, at most."""
AMONG = 5
"""Of so many grounds the one is taken whose colour is most like the cut-out's."""
DARKER, LIGHTER = 0.8, 1.25
EDGE_PX, GRAIN = 0.5, 2.0
SOLID = 250
HALVES = ("choose", "confirm")

Map = np.ndarray[Any, Any]


def cutout(file: Path, rng: np.random.Generator) -> tuple[Map, Map, int]:
    """Colours H x W x 3 float32 also around the thing, its alpha 0..1, and the picture's side."""
    pixels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.shape[2:] != (4,):
        raise SystemExit(f"{file}: no picture with alpha")
    left, top, width, height = cv2.boundingRect((pixels[..., 3] > 0).view(np.uint8))
    part = pixels[top : top + height, left : left + width]
    side = int(np.clip(max(width, height) / rng.uniform(*SHARE), *SIDES))
    size = geometry.fit(height, width, round(side * SHARE[1]))
    alpha = np.asarray(geometry.resize(np.ascontiguousarray(part[..., 3]), *size))
    return _extended(geometry.resize(part[..., 2::-1].copy(), *size), alpha), alpha / 255, side


def _extended(colours: Map, alpha: Map) -> Map:
    """The same, where it is not solid with the colours beside it, not an old ground's."""
    solid = (alpha >= SOLID).astype(np.float32)
    near = [cv2.GaussianBlur(layer, (0, 0), 3) for layer in (colours * solid[..., None], solid)]
    beside = near[0] / np.maximum(near[1], 1e-4)[..., None]
    known = np.maximum(solid, alpha > 127)[..., None]
    return np.asarray(colours * known + beside * (1 - known), np.float32)


def ground(file: Path, side: int, rng: np.random.Generator) -> Map:
    """A square part of a photo, float32."""
    pixels = cv2.imread(str(file))
    if pixels is None:
        raise SystemExit(f"{file}: no photo")
    long = round(min(pixels.shape[:2]) * rng.uniform(*PART))
    top, left = (int(rng.integers(0, n - long + 1)) for n in pixels.shape[:2])
    part = pixels[top : top + long, left : left + long, ::-1]
    return np.asarray(geometry.resize(np.ascontiguousarray(part), side, side), np.float32)


def _sharpness(pixels: Map, where: Map) -> float:
    grey = cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2GRAY)
    return float(np.abs(cv2.Laplacian(grey, cv2.CV_32F))[where].mean())


def pasted(colours: Map, alpha: Map, back: Map, rng: np.random.Generator) -> tuple[Map, Map]:
    """The picture and its true matte, uint8."""
    side, inside = len(back), alpha > 0.99
    limit = max(_sharpness(colours, inside), 1.0) if inside.any() else np.inf
    everywhere = np.ones(back.shape[:2], np.bool_)
    back = cv2.GaussianBlur(back, (0, 0), rng.uniform(0.3, DEFOCUS_PX))
    while _sharpness(back, everywhere) > limit:
        back = cv2.GaussianBlur(back, (0, 0), 0.6)
    gain = np.sqrt(max(float(back.mean()), 1) / max(float(colours[inside].mean()), 1))
    colours = colours * np.clip(gain, DARKER, LIGHTER)
    places = [max(0, side - n) * (0.5 + rng.uniform(-ASIDE, ASIDE)) for n in alpha.shape]
    own, matte = (
        np.zeros((side, side, *layer.shape[2:]), np.float32) for layer in (colours, alpha)
    )
    area = tuple(slice(round(first), None) for first in places)
    for target, layer in ((own, colours), (matte, alpha)):
        rows, columns = target[area].shape[:2]
        part = layer[:rows, :columns]
        target[area][: part.shape[0], : part.shape[1]] = part
    matte = cv2.GaussianBlur(matte, (0, 0), EDGE_PX)
    mixed = own * matte[..., None] + back * (1 - matte[..., None])
    image = np.clip(mixed + rng.normal(0, GRAIN, mixed.shape) + 0.5, 0, 255).astype(np.uint8)
    return image, np.rint(matte * 255).astype(np.uint8)


def main() -> None:
    options = parser(__doc__)
    for name in ("cutouts", "grounds", "target"):
        options.add_argument(name, type=Path)
    options.add_argument("--each", type=int, default=1, help="grounds of each cut-out")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    rng = np.random.default_rng(chosen.seed)
    files, grounds = (sorted(folder.iterdir()) for folder in (chosen.cutouts, chosen.grounds))
    for half in HALVES:
        (chosen.target / half / "mattes").mkdir(parents=True, exist_ok=True)
    for n, file in enumerate(files[i] for i in rng.permutation(len(files))):
        folder = chosen.target / HALVES[n % len(HALVES)]
        for m in range(chosen.each):
            colours, alpha, side = cutout(file, rng)
            some = [ground(grounds[k], side, rng) for k in rng.choice(len(grounds), AMONG)]
            mean = colours[alpha > 0.99].mean(0)
            back = min(some, key=lambda each: float(np.abs(each.mean((0, 1)) - mean).sum()))
            image, matte = pasted(colours, alpha, back, rng)
            name = f"{file.stem}-{m}.png"
            cv2.imwrite(str(folder / name), image[..., ::-1])
            cv2.imwrite(str(folder / "mattes" / name), matte)


if __name__ == "__main__":
    main()
