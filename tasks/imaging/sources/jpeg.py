"""Opens a JPEG: libjpeg-turbo through OpenCV, which shrinks while it decodes; CMYK by Pillow."""

import io
from collections.abc import Callable, Iterator
from functools import partial

import cv2
import numpy as np
from PIL import Image as Picture

from tasks.imaging import colour, geometry
from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header
from tasks.imaging.sources import base
from tasks.imaging.sources.base import Source

_RGB = {
    scale: flags & ~cv2.IMREAD_COLOR | cv2.IMREAD_COLOR_RGB
    for scale, flags in {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }.items()
}
"""Scale -> flags. RGB from the start: OpenCV holds a picture twice to exchange its channels."""
_GREY = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


_LARGE = 16_000_000
"""Pixels from which Pillow decodes a JPEG at full size: OpenCV holds it twice meanwhile."""


def open_source(data: bytes, header: Header) -> Source:
    """The picture in a file that the guard has accepted as a JPEG."""
    picture = Picture.open(io.BytesIO(data), formats=("JPEG",))
    base.check_size(picture, header)
    space, turn = colour.find(data, header, picture.info), base.orientation_of(picture)
    width, height = picture.size
    region = partial(_region, picture)
    if picture.mode == "CMYK":
        few = partial(_few_inks, picture)
        return Source(width, height, space, partial(_strips, picture), few, turn, region)
    decode = partial(_decoded, data, header, picture.mode == "L")
    shrunk = partial(_shrunk, decode, header)
    if width * height > _LARGE:
        return Source(width, height, space, partial(_strips, picture), shrunk, turn, region)
    whole = base.region_of(lambda: decode(1))
    return Source(
        width, height, space, lambda: base.sliced(whole(0, 0, width, height)), shrunk, turn, whole
    )


def _shrunk(decode: Callable[[int], Pixels], header: Header, height: int, width: int) -> Pixels:
    """The picture at this size, shrunk while it is decoded as far as that goes."""
    pixels = decode(geometry.scale_of(header.height, header.width, max(height, width)))
    channels = pixels.shape[2]
    return geometry.resize(pixels, height, width, spare=True).reshape(height, width, channels)


def _decoded(data: bytes, header: Header, is_grey: bool, scale: int) -> Pixels:
    """The whole picture, its sides divided by `scale`: H x W x 1 or x 3 RGB."""
    flags = (_GREY if is_grey else _RGB)[scale] | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise ValueError("OpenCV cannot decode it")
    if pixels.shape[0] > -(-header.height // scale) or pixels.shape[1] > -(-header.width // scale):
        raise ValueError(f"decoded to {pixels.shape}, header {header.width} x {header.height}")
    return pixels[..., None] if is_grey else pixels


def _strips(picture: Picture.Image) -> Iterator[Pixels]:
    for top in range(0, picture.height, base.STRIP_ROWS):
        bottom = min(top + base.STRIP_ROWS, picture.height)
        yield _region(picture, 0, top, picture.width, bottom)


def _region(picture: Picture.Image, left: int, top: int, right: int, bottom: int) -> Pixels:
    pixels = np.asarray(picture.crop((left, top, right, bottom)))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _few_inks(picture: Picture.Image, height: int, width: int) -> Pixels:
    picture.draft("CMYK", (2 * width, 2 * height))
    return np.asarray(picture.resize((width, height), Picture.Resampling.BOX))
