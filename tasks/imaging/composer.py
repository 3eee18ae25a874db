"""Decodes an upload at its full size and makes the pictures of a result, in the sandbox.

For uploads of which preprocess has kept less than the pictures need: they are larger, or partly
transparent, or keep their own colours.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from tasks.imaging import colour, cutouts, geometry, sources
from tasks.imaging.colour import Colour
from tasks.imaging.cutouts import Look, Subject
from tasks.imaging.frame import Frame
from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header
from tasks.imaging.sinks import Encoded
from tasks.imaging.sources.base import Source, region_of

_ROWS = 128
"""Rows of a strip where strips can be chosen."""


def compose(data: bytes, memory: Pixels, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Write the encoded pictures to `memory`, one behind the other.

    `data`: the matte, the backdrop and the photo at the matte's size (if they are given), the
    upload. Arguments: `header`, the fields of the guard's Header; `look`, those of cutouts.Look;
    `names`, the pictures asked for; `keeps`, whether the colours stay; `matte`, `backdrop` and
    `photo`, shapes, null for what is not given. Returns {pictures: [[name, bytes,
    media type, width, height]], crop: [left, top, right, bottom, height, width]}.
    """
    cv2.setNumThreads(0)
    warnings.simplefilter("ignore")
    given, at = _arrays(data, [arguments[name] for name in ("matte", "backdrop", "photo")])
    matte, backdrop, photo = given
    look = Look(**arguments["look"])
    source = sources.open_source(data[at:], Header(**arguments["header"]))
    made, frame = _pictures(source, matte, photo, _Ground(look, backdrop), arguments)
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


@dataclass(frozen=True)
class _Ground:
    """What is behind the subject, all of it in one colour space."""

    look: Look
    backdrop: Pixels | None

    def kept_in(self, space: Colour) -> "_Ground":
        """The same in the kept colours of an upload, from sRGB. Raises ValueError where only the
        way to sRGB is known."""
        look, backdrop = self.look, self.backdrop
        if look.background.startswith("#"):
            values = np.array([[tuple(bytes.fromhex(look.background[1:]))]], np.uint8)
            kept = colour.from_srgb(values, space)
            look = replace(look, background=f"#{kept.tobytes().hex()}")
        if backdrop is not None:
            backdrop = colour.from_srgb(backdrop, space)
        return _Ground(look, backdrop)


def _pictures(
    source: Source,
    matte: Pixels,
    photo: Pixels | None,
    ground: _Ground,
    arguments: Mapping[str, Any],
) -> tuple[dict[str, Encoded], Frame]:
    """The pictures asked for, and what they show. Small ones are sRGB in any case."""
    names, kept = arguments["names"], None
    if arguments["keeps"] and colour.profile(source.colour):
        with suppress(ValueError):
            kept = ground.kept_in(source.colour)
    if photo is not None and kept is None:
        subject = Subject(photo, matte)
        frame = cutouts.frame_of(subject, _upright_size(source), ground.look)
        return _made(_strips(source, frame, False), subject, frame, ground, names), frame
    stored = _stored(source, matte)
    subject = _subject(source, stored, matte, False)
    frame = cutouts.frame_of(subject, _upright_size(source), ground.look)
    strips = _strips(source, frame, kept is not None)
    if kept is None:
        return _made(strips, subject, frame, ground, names), frame
    small = [name for name in names if name in cutouts.SMALL]
    large = [name for name in names if name not in cutouts.SMALL]
    made = _made(iter(()), subject, frame, ground, small)
    subject = _subject(source, stored, matte, True)
    made |= _made(strips, subject, frame, kept, large, colour.profile(source.colour))
    return made, frame


def _made(
    strips: Iterator[Pixels],
    subject: Subject,
    frame: Frame,
    ground: _Ground,
    names: Sequence[str],
    profile: bytes = b"",
) -> dict[str, Encoded]:
    return cutouts.compose(strips, subject, frame, ground.look, names, ground.backdrop, profile)


def _arrays(data: bytes, shapes: Sequence[Sequence[int] | None]) -> tuple[list[Any], int]:
    """The arrays of these shapes, one behind the other, and where they end; None for None."""
    arrays: list[Any] = []
    at = 0
    for shape in shapes:
        size = 0 if shape is None else int(np.prod(shape))
        array = np.frombuffer(data, np.uint8, size, at).reshape(shape) if shape else None
        arrays.append(array)
        at += size
    return arrays, at


def _stored(source: Source, matte: Pixels) -> Pixels:
    """The upload at the matte's size, neither turned nor converted."""
    height, width = matte.shape
    is_turned = geometry.is_turned(source.orientation)
    return source.shrunk(*((width, height) if is_turned else (height, width)))


def _subject(source: Source, stored: Pixels, matte: Pixels, keeps: bool) -> Subject:
    """The upload at the matte's size. What is hidden under transparency is white."""
    pixels = geometry.upright(_converted(stored, source.colour, keeps), source.orientation)
    if pixels.shape[2] == 3:
        return Subject(np.ascontiguousarray(pixels), matte)
    own = np.ascontiguousarray(pixels[..., 3])
    photo = np.ascontiguousarray(pixels[..., :3])
    photo[own == 0] = 255
    return Subject(photo, matte, own)


def _strips(source: Source, frame: Frame, keeps: bool) -> Iterator[Pixels]:
    """The upright upload at the frame's whole size, from top to bottom."""
    size = frame.height, frame.width
    if size == _upright_size(source) and source.orientation == 1:
        parts = source.strips()
    else:
        parts = _upright_parts(source, size)
    for part in parts:
        yield _converted(np.ascontiguousarray(part), source.colour, keeps)


def _upright_parts(source: Source, size: tuple[int, int]) -> Iterator[Pixels]:
    """The same in the upload's colours. Each part is turned by itself: no copy of all is needed."""
    stored = size[::-1] if geometry.is_turned(source.orientation) else size
    region = source.region
    if stored != (source.height, source.width):
        region = region_of(lambda: source.shrunk(*stored))
    elif region is None:
        region = region_of(lambda: np.vstack(list(source.strips())))
    for top in range(0, size[0], _ROWS):
        bottom = min(top + _ROWS, size[0])
        box = geometry.stored_box((0, top, size[1], bottom), size, source.orientation)
        yield geometry.upright(region(*box), source.orientation)


def _converted(pixels: Pixels, space: Colour, keeps: bool) -> Pixels:
    """RGB or RGBA of 8 bits, in sRGB unless the colours stay as they are."""
    return colour.kept(pixels, space) if keeps else colour.to_srgb(pixels, space)


def _upright_size(source: Source) -> tuple[int, int]:
    size = source.height, source.width
    return size[::-1] if geometry.is_turned(source.orientation) else size
