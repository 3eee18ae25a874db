"""Makes docs/contact.webp: the example photos cut out by fast and quality, on four backgrounds.

make bench-contact
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from composites import EXAMPLES
from options import parser
from PIL import Image, ImageDraw, ImageFont
from quality import Profile, Way

from tasks.imaging import edge_colours

TARGET = Path("docs/contact.webp")
WIDTH = 320
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
BEHIND = {"rocket": "coffee"}
"""The photo that is laid behind, else the rocket's sky."""
PLAIN = {"white": (255, 255, 255), "black": (0, 0, 0), "green": (0, 177, 64)}
CAPTIONS = ("photo", *PLAIN, "another photo")

Pixels = np.ndarray[Any, Any]


def read(name: str) -> Pixels:
    """H x W x 3 uint8 RGB."""
    return np.asarray(Image.open(EXAMPLES / f"{name}.jpg").convert("RGB"))


def backgrounds(name: str, shape: tuple[int, ...]) -> list[Pixels]:
    """Each H x W x 3."""
    plain = [np.full(shape, colour, np.uint8) for colour in PLAIN.values()]
    photo = read(BEHIND.get(name, "rocket"))
    upper = photo[: photo.shape[0] // 2]
    return [*plain, np.asarray(cv2.resize(upper, (shape[1], shape[0])))]


def row(profile: Profile, name: str) -> Pixels:
    """The photo and its cut-out on each background, side by side."""
    photo = read(name)
    matte = profile.matte(profile.maps(photo), photo)
    own, share = edge_colours.foreground(photo, matte), matte[..., None] / 255
    laid = [own * share + behind * (1 - share) for behind in backgrounds(name, photo.shape)]
    size = (WIDTH, round(WIDTH * photo.shape[0] / photo.shape[1]))
    tiles = [np.asarray(tile, np.float32) for tile in (photo, *laid)]
    tiles = [cv2.resize(tile, size, interpolation=cv2.INTER_AREA) for tile in tiles]
    return np.hstack(tiles).round().astype(np.uint8)


def caption(profile: str) -> Pixels:
    strip = Image.new("RGB", (WIDTH * len(CAPTIONS), 22), "white")
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(13)
    for i, text in enumerate(CAPTIONS):
        draw.text((i * WIDTH + 6, 3), f"{profile}: {text}", "black", font)
    return np.asarray(strip)


def main() -> None:
    parser(__doc__).parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in ("fast", "quality"):
        profile = Profile(Way(name))
        rows += [caption(name), *(row(profile, photo) for photo in PHOTOS)]
    Image.fromarray(np.vstack(rows)).save(TARGET, quality=80, method=6)
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
