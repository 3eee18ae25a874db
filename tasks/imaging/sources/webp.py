"""Opens a WebP: libwebp (libwebp.py); of an animation its first frame, in its place."""

import io

import numpy as np
from PIL import Image as Picture

from tasks.imaging import colour
from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header
from tasks.imaging.headers.webp import first_frame
from tasks.imaging.sources import base, libwebp
from tasks.imaging.sources.base import Source


def open_source(data: bytes, header: Header) -> Source:
    """The picture in a file that the guard has accepted as a WebP."""
    picture = Picture.open(io.BytesIO(data), formats=("WEBP",))
    base.check_size(picture, header)
    height, width = picture.height, picture.width
    whole = base.region_of(lambda: _shrunk(data, height, width))
    return Source(
        width,
        height,
        colour.find(data, header, picture.info),
        lambda: base.sliced(whole(0, 0, width, height)),
        lambda height, width: _shrunk(data, height, width),
        base.orientation_of(picture),
        whole,
    )


def _shrunk(data: bytes, height: int, width: int) -> Pixels:
    frame = first_frame(data)
    if frame is None:
        return _still(data, height, width)
    down, across = height / frame.canvas_height, width / frame.canvas_width
    top, left = round(frame.top * down), round(frame.left * across)
    inner = max(1, round(frame.height * down)), max(1, round(frame.width * across))
    shown = _still(frame.data, *inner)
    if inner == (height, width):
        return shown
    canvas = np.zeros((height, width, 4), np.uint8)
    part = canvas[top : top + inner[0], left : left + inner[1]]
    part[..., 3] = 255
    part[..., : shown.shape[2]] = shown[: part.shape[0], : part.shape[1]]
    return canvas


def _still(data: bytes, height: int, width: int) -> Pixels:
    """RGB or RGBA of a WebP that is not an animation."""
    pixels = libwebp.decode(data, height, width)
    if pixels.shape[:2] == (height, width):
        return pixels
    return base.shrink(base.sliced(pixels), pixels.shape[0], (height, width))
