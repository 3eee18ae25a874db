"""Decodes an upload at its full size and makes the pictures of a result, in the sandbox.

For uploads of which preprocess has kept less than the pictures need: they are larger, or partly
transparent, or keep their own colours.
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np

from tasks.imaging import colour, cutouts, geometry, sources
from tasks.imaging.colour import Colour
from tasks.imaging.cutouts import Look, Subject
from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header
from tasks.imaging.sources.base import Source, sliced


def compose(data: bytes, memory: Pixels, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Write the encoded pictures to `memory`, one behind the other.

    `data`: the matte, the backdrop (if there is one), the upload. Arguments: `header`, the fields
    of the guard's Header; `look`, those of cutouts.Look; `names`, the pictures asked for; `keeps`,
    whether the colours stay; `matte` and `backdrop`, shapes. Returns {pictures: [[name, bytes,
    media type, width, height]], crop: [left, top, right, bottom, height, width]}.
    """
    cv2.setNumThreads(0)
    warnings.simplefilter("ignore")
    matte, at = _array(data, 0, arguments["matte"])
    backdrop, at = _array(data, at, arguments["backdrop"]) if arguments["backdrop"] else (None, at)
    look = Look(**arguments["look"])
    source = sources.open_source(data[at:], Header(**arguments["header"]))
    keeps = bool(arguments["keeps"]) and source.colour.space == "RGB"
    subject = _subject(source, matte, keeps)
    upload = _upright_size(source)
    frame = cutouts.frame_of(subject, upload, look)
    made = cutouts.compose(
        _strips(source, (frame.height, frame.width), keeps), subject, frame, look,
        arguments["names"], backdrop, colour.profile(source.colour) if keeps else b"",
    )  # fmt: skip
    start = 0
    for picture in made.values():
        end = start + len(picture.data)
        memory[start:end] = np.frombuffer(picture.data, np.uint8)
        start = end
    return {
        "pictures": [
            [name, len(picture.data), picture.media_type, picture.width, picture.height]
            for name, picture in made.items()
        ],
        "crop": [frame.left, frame.top, frame.right, frame.bottom, frame.height, frame.width],
    }


def _array(data: bytes, at: int, shape: list[int]) -> tuple[Pixels, int]:
    """The array of this shape at `at`, and where it ends."""
    size = int(np.prod(shape))
    return np.frombuffer(data, np.uint8, size, at).reshape(shape), at + size


def _subject(source: Source, matte: Pixels, keeps: bool) -> Subject:
    """The upload at the matte's size. What is hidden under transparency is white."""
    height, width = matte.shape
    is_turned = geometry.is_turned(source.orientation)
    stored = source.shrunk(*((width, height) if is_turned else (height, width)))
    pixels = geometry.upright(_converted(stored, source.colour, keeps), source.orientation)
    if pixels.shape[2] == 3:
        return Subject(np.ascontiguousarray(pixels), matte)
    own = np.ascontiguousarray(pixels[..., 3])
    photo = np.ascontiguousarray(pixels[..., :3])
    photo[own == 0] = 255
    return Subject(photo, matte, own)


def _strips(source: Source, size: tuple[int, int], keeps: bool) -> Iterator[Pixels]:
    """The upright upload at (height, width), from top to bottom."""
    whole = _upright_size(source)
    if size == whole and source.orientation in (1, 2):
        for strip in source.strips():
            yield geometry.upright(_converted(strip, source.colour, keeps), source.orientation)
        return
    for strip in sliced(geometry.upright_view(_gathered(source, size), source.orientation)):
        yield _converted(np.ascontiguousarray(strip), source.colour, keeps)


def _gathered(source: Source, size: tuple[int, int]) -> Pixels:
    """The picture as stored, at the size that is (height, width) once it is upright."""
    stored = size[::-1] if geometry.is_turned(source.orientation) else size
    if stored != (source.height, source.width):
        return source.shrunk(*stored)
    return source.whole() if source.whole else np.vstack(list(source.strips()))


def _converted(pixels: Pixels, space: Colour, keeps: bool) -> Pixels:
    """RGB or RGBA of 8 bits, in sRGB unless the colours stay as they are."""
    if not keeps:
        return colour.to_srgb(pixels, space)
    return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)


def _upright_size(source: Source) -> tuple[int, int]:
    size = source.height, source.width
    return size[::-1] if geometry.is_turned(source.orientation) else size
