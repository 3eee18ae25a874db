"""Opens the first frame of a GIF, in its place on the screen, by Pillow.

Pillow gets a GIF of that frame alone, as large as the frame: what else is in the file, and where
the frame lies, is no concern of its.
"""

import io
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image as Picture

from tasks.imaging import colour
from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header
from tasks.imaging.headers import gif
from tasks.imaging.headers.gif import Frame
from tasks.imaging.sources import base
from tasks.imaging.sources.base import Source

_END = b"\x3b"


def open_source(data: bytes, header: Header) -> Source:
    """The picture in a file that the guard has accepted as a GIF."""
    frame, (height, width) = gif.first_frame(data), gif.screen(data)
    height, width = max(height, frame.top + frame.height), max(width, frame.left + frame.width)
    if (width, height) != (header.width, header.height):
        raise ValueError(f"the screen is {width} x {height}, header {header}")
    return Source(
        width,
        height,
        colour.find(data, header, {}),
        lambda: _strips(data, frame, width, height),
        lambda rows, columns: base.shrink(
            _strips(data, frame, width, height), height, (rows, columns)
        ),
    )


def _strips(data: bytes, frame: Frame, width: int, height: int) -> Iterator[Pixels]:
    indices = _indices(data, frame)
    fills = (frame.width, frame.height) == (width, height)
    is_opaque = fills and frame.transparent is None
    palette = np.ascontiguousarray(_palette(frame)[:, : 3 if is_opaque else 4])
    for top in range(0, height, base.STRIP_ROWS):
        bottom = min(top + base.STRIP_ROWS, height)
        if fills:
            yield base.looked_up(indices[top:bottom], palette)
            continue
        strip = np.zeros((bottom - top, width, 4), np.uint8)
        first, last = max(top, frame.top), min(bottom, frame.top + frame.height)
        if last > first:
            part = base.looked_up(indices[first - frame.top : last - frame.top], palette)
            strip[first - top : last - top, frame.left : frame.left + frame.width] = part
        yield strip


def _indices(data: bytes, frame: Frame) -> Pixels:
    """height x width of the frame: numbers of colours."""
    grey = bytes(value for index in range(256) for value in (index, index, index))
    flags = 0x40 if frame.is_interlaced else 0
    alone = b"".join(
        [
            b"GIF89a" + struct.pack("<HHBBB", frame.width, frame.height, 0xF7, 0, 0) + grey,
            b"\x2c" + struct.pack("<HHHHB", 0, 0, frame.width, frame.height, flags),
            data[frame.data],
            _END,
        ]
    )
    with Picture.open(io.BytesIO(alone), formats=("GIF",)) as picture:
        picture.load()
        return np.asarray(picture)


def _palette(frame: Frame) -> Pixels:
    """256 x 4 RGBA; colours that the file leaves out are black."""
    palette = np.zeros((256, 4), np.uint8)
    stored = np.frombuffer(frame.palette, np.uint8).reshape(-1, 3)
    palette[: len(stored), :3] = stored
    palette[:, 3] = 255
    if frame.transparent is not None:
        palette[frame.transparent, 3] = 0
    return palette
