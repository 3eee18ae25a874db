"""Opens a PNG: by Pillow, and by OpenCV where colours have 16 bits."""

import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from tasks.imaging import colour
from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header
from tasks.imaging.headers.png import strip_png
from tasks.imaging.sources import base
from tasks.imaging.sources.base import Source

_DEEP_BYTES, _MAX_DEEP_BYTES = 8, 300_000_000
"""What OpenCV holds for a pixel, and in all; of larger pictures, 8 bits have to do."""


def open_source(data: bytes, header: Header) -> Source:
    """The picture in a file that the guard has accepted as a PNG."""
    stripped = strip_png(data)
    picture = Picture.open(io.BytesIO(stripped), formats=("PNG",))
    base.check_size(picture, header)
    is_deep = header.bits == 16 and not picture.mode.startswith("I")
    if is_deep and header.pixels * _DEEP_BYTES <= _MAX_DEEP_BYTES:
        region = base.region_of(partial(_deep, stripped, picture, header.channels))
    else:
        region = partial(_region, picture, header.bits)

    def strips() -> Iterator[Pixels]:
        for top in range(0, picture.height, base.STRIP_ROWS):
            yield region(0, top, picture.width, min(top + base.STRIP_ROWS, picture.height))

    return Source(
        picture.width,
        picture.height,
        colour.find(data, header, picture.info),
        strips,
        lambda height, width: base.shrink(strips(), picture.height, (height, width)),
        base.orientation_of(picture),
        region,
    )


def _region(
    picture: Picture.Image, bits: int, left: int, top: int, right: int, bottom: int
) -> Pixels:
    picture.load()
    key = picture.info.get("transparency")
    if picture.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        picture.info["transparency"] = tuple(value >> 8 for value in key)  # of 16-bit pixels
    part = picture.crop((left, top, right, bottom))
    if picture.mode.startswith("I"):
        return _grey(np.asarray(part), key, bits)
    if picture.mode in ("1", "L"):
        key = key if key is None or bits > 1 else min(key, 1)
        return _grey(np.asarray(part.convert("L")), key, bits)
    mode = _mode(picture)
    return np.asarray(part if part.mode == mode else part.convert(mode))


def _mode(picture: Picture.Image) -> str:
    """What colours are converted to."""
    if picture.mode == "LA":
        return "LA"
    return "RGBA" if picture.has_transparency_data else "RGB"


def _grey(values: NDArray[Any], key: int | None, bits: int) -> Pixels:
    """H x W of grey -> H x W x 1, or x 2 with an alpha if one value, the key, stands for
    transparent. Values of few bits have been stretched to 8, which the key has not."""
    grey = values.astype(np.uint16 if bits == 16 else np.uint8)
    if key is None:
        return grey[..., None]
    most = 65_535 if bits == 16 else 255
    stretched = key * (most // ((1 << bits) - 1))
    return np.dstack([grey, np.where(grey == stretched, 0, most).astype(grey.dtype)])


def _deep(data: bytes, picture: Picture.Image, channels: int) -> Pixels:
    """The whole picture of 16-bit colours, of which Pillow would keep 8 bits."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.shape[:2] != picture.size[::-1]:
        raise ValueError("OpenCV cannot decode it")
    if channels == 2:
        return np.ascontiguousarray(pixels[..., [0, 3]])
    if pixels.shape[2] == 4:
        return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA, dst=pixels)
    rgb = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    key = picture.info.get("transparency")
    if key is None:
        return rgb
    opaque = (rgb != np.array(key)).any(2)
    return np.dstack([rgb, opaque.astype(np.uint16) * np.uint16(65_535)])
