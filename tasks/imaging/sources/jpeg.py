"""Opens a JPEG: libjpeg-turbo through OpenCV, which shrinks while it decodes, or itself; CMYK by
Pillow."""

import io
from collections.abc import Callable, Iterator
from functools import partial

import cv2
import numpy as np
from PIL import Image as Picture

from tasks.imaging import colour, geometry
from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header
from tasks.imaging.headers import jpeg
from tasks.imaging.sources import base, libjpeg
from tasks.imaging.sources.base import Source

_TAIL = b"\x55" * 64
_MOST = 0.9
"""The share of the rows that must be there."""
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
_HUGE = 50_000_000
"""Pixels from which it is decoded at half its size at most, wherever that is enough."""


def open_source(data: bytes, header: Header) -> Source:
    """The picture in a file that the guard has accepted as a JPEG."""
    stripped = jpeg.strip_jpeg(data)
    picture = Picture.open(io.BytesIO(stripped), formats=("JPEG",))
    base.check_size(picture, header)
    space, turn = colour.find(data, header, picture.info), base.orientation_of(picture)
    width, height = picture.size
    region = partial(_region, picture)
    if picture.mode == "CMYK":
        few = partial(_few_inks, stripped)
        notes = _notes(data, partial(_small_inks, header), header)
        return Source(width, height, space, partial(_strips, picture), few, turn, region, notes)
    is_grey = picture.mode == "L"
    notes = _notes(data, partial(_small, header, is_grey), header)
    decode = partial(_decoded, stripped, header, is_grey)
    shrunk = partial(_shrunk, decode, header)
    if width * height > _LARGE:
        return Source(width, height, space, partial(_strips, picture), shrunk, turn, region, notes)
    whole = base.region_of(lambda: decode(1))
    return Source(
        width,
        height,
        space,
        lambda: base.sliced(whole(0, 0, width, height)),
        shrunk,
        turn,
        whole,
        notes,
        partial(_into, stripped, header, is_grey or bool(notes)),
    )


def _notes(data: bytes, few: Callable[[bytes], Pixels], header: Header) -> tuple[str, ...]:
    """What to say of a file without an end; `few` decodes a small picture.

    Browsers show whatever there is, Pillow refuses all of it. Here nine tenths of the rows must be
    there, or of a progressive JPEG every coefficient once; otherwise ValueError is raised. Where
    the data ends, the picture depends on what is put behind it.
    """
    if not jpeg.is_cut(data):
        return ()
    stripped = jpeg.strip_jpeg(data)
    ends, goes_on = few(stripped), few(stripped[:-2] + _TAIL + stripped[-2:])
    differing = np.flatnonzero((ends != goes_on).any((1, 2)))
    if not len(differing):
        return ()
    is_enough = jpeg.shows_all(data) if header.progressive else differing[0] >= _MOST * len(ends)
    if not is_enough:
        raise ValueError("it ends too early")
    return ("cut_short",)


def _small(header: Header, is_grey: bool, data: bytes) -> Pixels:
    """Small enough to be quick, large enough to show how far the data goes."""
    return _decoded(data, header, is_grey, 2 if header.progressive else 8)


def _small_inks(header: Header, data: bytes) -> Pixels:
    scale = 2 if header.progressive else 8
    return _few_inks(data, -(-header.height // scale), -(-header.width // scale))


def _shrunk(decode: Callable[[int], Pixels], header: Header, height: int, width: int) -> Pixels:
    """The picture at this size, shrunk while it is decoded as far as that goes."""
    scale = geometry.scale_of(header.height, header.width, max(height, width))
    if header.pixels > _HUGE and 2 * max(height, width) <= max(header.height, header.width):
        scale = max(scale, 2)
    pixels = decode(scale)
    channels = pixels.shape[2]
    return geometry.resize(pixels, height, width, spare=True).reshape(height, width, channels)


def _into(data: bytes, header: Header, is_odd: bool, memory: Pixels) -> Pixels | None:
    return None if is_odd else libjpeg.decode(data, memory, header.height, header.width)


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


def _few_inks(data: bytes, height: int, width: int) -> Pixels:
    with Picture.open(io.BytesIO(data), formats=("JPEG",)) as picture:
        picture.draft("CMYK", (2 * width, 2 * height))
        return np.asarray(picture.resize((width, height), Picture.Resampling.BOX))
