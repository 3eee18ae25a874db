"""Small files of one colour, and what Pixelmill makes of them."""

import io
from pathlib import Path

import colours
import corpus
import numpy as np
from colours import with_chunks
from PIL import Image

from tasks.imaging import codec, colour, guard
from tasks.imaging.colour import Colour

INPUTS = Path(__file__).parent / "inputs"
RED = (200, 60, 40)
P3 = colours.DISPLAY_P3


def middle(data: bytes) -> list[int]:
    """The colour in the middle of what the models get."""
    image = codec.decode(data, guard.check(data)).image
    return image[image.shape[0] // 2, image.shape[1] // 2].tolist()


def notes(data: bytes) -> tuple[str, ...]:
    return codec.decode(data, guard.check(data)).notes


def meant(space: colours.Space, values: tuple[int, ...] = RED) -> list[int]:
    """The values in sRGB, by the formulas."""
    return np.rint(space.to_srgb(np.array(values) / 255.0) * 255).astype(int).tolist()


def near(got: list[int], wanted: list[int], levels: int = 2) -> bool:
    return max(abs(a - b) for a, b in zip(got, wanted, strict=True)) <= levels


def flat(kind: str, values: tuple[int, ...] | int = RED, **options: object) -> bytes:
    """A picture of one colour."""
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[1 if isinstance(values, int) else len(values)]
    if kind in ("JPEG", "AVIF"):
        options = {"quality": 100, "subsampling": "4:4:4", **options}
    if kind == "WEBP":
        options = {"lossless": True, **options}
    return corpus.save(Image.new(mode, (48, 32), values), kind, **options)


def png(*chunks: tuple[bytes, bytes], values: tuple[int, ...] | int = RED) -> bytes:
    return with_chunks(flat("PNG", values), *chunks)


def found(data: bytes) -> Colour:
    header = guard.check(data)
    with Image.open(io.BytesIO(data)) as picture:
        return colour.find(data, header, picture.info)
