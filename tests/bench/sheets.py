"""Makes docs/sheets/: cut-outs of 24 pictures on white, black and green, each pixel as it is.

    make bench-sheets [ARGS="--data DIR --way good"]

The pictures are the example photos, photos of the folder DIR, and drawn ones (cases.py,
composites.py), at most SIDE pixels large when they are cut out. Each sheet has ROWS of them.
Networks are run as a worker of this host runs them.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from cases import cases
from composites import composites
from contact import PHOTOS, PLAIN, Pixels, read
from edges import over
from options import parser
from PIL import Image
from quality import WAYS, Profile

from tasks.imaging import edge_colours, geometry
from tasks.models import engines
from tasks.settings import Settings

TARGET = Path("docs/sheets")
SIDE = 420
"""Of the square in which a picture lies, in pixels."""
ROWS = 6
GAP_PX = 4
DRAWN = ("hair on coffee", "outline on rocket", "soft ball on chelsea", "glass on astronaut")
"""Of the composites."""


def pictures(data: Path | None) -> Iterator[Pixels]:
    """Each H x W x 3 uint8 RGB: photos first."""
    yield from (read(name) for name in PHOTOS)
    for file in sorted(data.iterdir()) if data else ():
        yield np.asarray(Image.open(file).convert("RGB"))
    yield from (case.image for case in cases() if case.name.endswith(", 1"))
    yield from (picture.image for picture in composites() if picture.name in DRAWN)


def row(profile: Profile, picture: Pixels) -> Pixels:
    """The picture, and its cut-out on each ground, in squares side by side."""
    photo = geometry.resize(picture, *geometry.fit(*picture.shape[:2], SIDE))
    matte = profile.matte(profile.maps(photo), photo)
    own = edge_colours.foreground(photo, matte)
    tiles = [photo, *(over(own, matte, ground) for ground in PLAIN.values())]
    return np.hstack([_square(tile) for tile in tiles])


def _square(tile: Pixels) -> Pixels:
    down, across = (SIDE + GAP_PX - side for side in tile.shape[:2])
    edges = (down // 2, down - down // 2, across // 2, across - across // 2)
    return np.asarray(cv2.copyMakeBorder(tile, *edges, cv2.BORDER_CONSTANT, value=(128,) * 3))


def main() -> None:
    """Writes the sheets and prints their sizes."""
    options = parser(__doc__)
    options.add_argument("--data", type=Path, help="a folder of further photos")
    options.add_argument("--way", default="fast", choices=WAYS)
    options.add_argument("--target", type=Path, default=TARGET)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    engine = engines.choose("cpu", Settings())
    profile = Profile(replace(WAYS[chosen.way], engine=engine))
    rows = [row(profile, picture) for picture in pictures(chosen.data)]
    chosen.target.mkdir(parents=True, exist_ok=True)
    for n in range(0, len(rows), ROWS):
        file = chosen.target / f"{chosen.way}-{n // ROWS + 1}.webp"
        Image.fromarray(np.vstack(rows[n : n + ROWS])).save(file, quality=65, method=6)
        print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
