"""Makes docs/edges.webp: hair and edges at 100 %, enlarged plainly and as the product makes them.

make bench-edges
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from contact import PLAIN, Pixels, read
from options import parser
from PIL import Image, ImageDraw, ImageFont
from quality import Profile, Way

from tasks.imaging import edge_colours

TARGET = Path("docs/edges.webp")
CROPS = {
    "astronaut": (140, 8, 220, 150),
    "chelsea": (225, 130, 220, 150),
    "rocket": (170, 140, 220, 150),
}
"""Photo -> (left, top, width, height) of what is shown."""
CAPTIONS = ("photo", *("plainly enlarged",) * 3, *("refined, own colours",) * 3)


def over(colours: Pixels, matte: Pixels, background: tuple[int, int, int]) -> Pixels:
    """The colours on a plain background, by a matte of 0..255."""
    share = matte[..., None] / 255
    return (colours * share + np.array(background) * (1 - share)).round().astype(np.uint8)


def row(profile: Profile, name: str, crop: tuple[int, int, int, int]) -> Pixels:
    """The photo, then both ways on each background, cut to the crop."""
    left, top, width, height = crop
    photo = read(name)
    coarse = profile.maps(photo)
    plain = cv2.resize(coarse[0], photo.shape[1::-1], interpolation=cv2.INTER_LINEAR) * 255
    refined = profile.matte(coarse, photo)
    own = edge_colours.foreground(photo, refined)
    tiles = [photo, *(over(photo, plain, background) for background in PLAIN.values())]
    tiles += [over(own, refined, background) for background in PLAIN.values()]
    return np.hstack([tile[top : top + height, left : left + width] for tile in tiles])


def captions(width: int) -> Pixels:
    """The upper line of the sheet."""
    strip = Image.new("RGB", (width, 22), "white")
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(13)
    for i, text in enumerate(CAPTIONS):
        draw.text((i * width // len(CAPTIONS) + 6, 3), text, "black", font)
    return np.asarray(strip)


def main() -> None:
    parser(__doc__).parse_args()
    torch.set_num_threads(1)
    profile = Profile(Way("fast"))
    rows = [row(profile, name, crop) for name, crop in CROPS.items()]
    sheet = np.vstack([captions(rows[0].shape[1]), *rows])
    Image.fromarray(sheet).save(TARGET, quality=92, method=4)
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
