"""Opens a PNG by Pillow."""

import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from tasks.imaging import colour
from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header
from tasks.imaging.headers.png import strip_png
from tasks.imaging.sources import base
from tasks.imaging.sources.base import Source


def open_source(data: bytes, header: Header) -> Source:
    """The picture in a file that the guard has accepted as a PNG."""
    stripped = strip_png(data)
    picture = Picture.open(io.BytesIO(stripped), formats=("PNG",))
    base.check_size(picture, header)
    return Source(
        picture.width,
        picture.height,
        colour.find(stripped, header, picture.info),
        lambda: _strips(picture),
        lambda height, width: base.shrink(_strips(picture), picture.height, (height, width)),
        base.orientation_of(picture),
        partial(_region, picture),
    )


def _strips(picture: Picture.Image) -> Iterator[Pixels]:
    for top in range(0, picture.height, base.STRIP_ROWS):
        bottom = min(top + base.STRIP_ROWS, picture.height)
        yield _region(picture, 0, top, picture.width, bottom)


def _region(picture: Picture.Image, left: int, top: int, right: int, bottom: int) -> Pixels:
    picture.load()
    key = picture.info.get("transparency")
    if picture.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        picture.info["transparency"] = tuple(value >> 8 for value in key)  # of 16-bit pixels
    part, mode = picture.crop((left, top, right, bottom)), _mode(picture)
    if picture.mode.startswith("I"):
        return _from_grey16(np.asarray(part), key)
    pixels = np.asarray(part if part.mode == mode else part.convert(mode))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _mode(picture: Picture.Image) -> str:
    """What the strips are converted to."""
    is_grey = picture.mode in ("1", "L", "LA")
    if picture.has_transparency_data:
        return "LA" if picture.mode == "LA" else "RGBA"
    return "L" if is_grey else "RGB"


def _from_grey16(grey: NDArray[Any], key: int | None) -> Pixels:
    """H x W of 16 bits -> grey, with alpha if one grey value, the key, stands for transparent."""
    grey = grey.astype(np.uint16)
    if key is None:
        return grey[..., None]
    return np.dstack([grey, np.where(grey == key, 0, 65_535).astype(np.uint16)])
