"""Opens an HEIF: its tiles are decoded by libavcodec.py, one row of tiles at a time.

The container is read by headers/heif.py, so no other parser sees it.
"""

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import cv2
import numpy as np

from tasks.imaging import colour
from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header
from tasks.imaging.headers import heif
from tasks.imaging.headers.heif import Plane, Shown
from tasks.imaging.sources import base, libavcodec, libavif
from tasks.imaging.sources.base import Source

_FORMATS = {"gray": 4, "yuv420p": 3, "yuv422p": 2, "yuv444p": 1, "gbrp": 1}
"""FFmpeg's name of how planes lie, without their depth -> libavif's number of it."""
_UNKNOWN, _IDENTITY, _BT601 = 2, 0, 6
_QUICK_PIXELS = 16_000_000
_FULL = 2
"""FFmpeg's number of the full range."""


def open_source(data: bytes, header: Header) -> Source:
    """The picture in a file that the guard has accepted as an HEIF."""
    shown = heif.picture_of(data)
    _, _, height, width = shown.crop
    if (width, height) != (header.width, header.height):
        raise ValueError(f"the picture is {width} x {height}, header {header}")
    info: dict[str, Any] = {"icc_profile": shown.profile} if shown.profile else {}
    if not (shown.profile or shown.plane.nclx):
        info["code_points"] = _code_points(data, shown)
    return Source(
        width,
        height,
        colour.find(data, header, info),
        lambda: _strips(data, shown),
        lambda height, width: base.shrink(_strips(data, shown), header.height, (height, width)),
        shown.orientation,
    )


def _code_points(data: bytes, shown: Shown) -> tuple[int, int] | None:
    """Primaries and transfer that the coded data state: the decoder tells them with a picture, so
    the first tile is decoded. None for a tile so large that this would take seconds."""
    plane = shown.plane
    if plane.coded[0] * plane.coded[1] > _QUICK_PIXELS:
        return None
    decoder = libavcodec.Decoder(plane.coding, *plane.coded)
    decoder.free(decoder.decode(shown.items.bytes_of(plane.tiles[0], data)))
    return decoder.stated("color_primaries"), decoder.stated("color_trc")


def _strips(data: bytes, shown: Shown) -> Iterator[Pixels]:
    """The part that is shown, with its alpha."""
    top, left, height, width = shown.crop
    masks = _alphas(data, shown) if shown.alpha else repeat(None)
    position = 0
    for strip, mask in zip(_rows(data, shown, shown.plane), masks, strict=False):
        start, end = max(0, top - position), min(len(strip), top + height - position)
        position += len(strip)
        if end > start:
            whole = strip if mask is None else _joined(strip, mask, shown.is_premultiplied)
            yield whole[start:end, left : left + width]


def _rows(data: bytes, shown: Shown, plane: Plane) -> Iterator[Pixels]:
    """RGB strips of a plane from top to bottom; grey ones as well."""
    decoder = libavcodec.Decoder(plane.coding, *plane.coded)
    for row in range(plane.rows):
        tiles = plane.tiles[row * plane.columns : (row + 1) * plane.columns]
        frames = [decoder.decode(shown.items.bytes_of(tile, data)) for tile in tiles]
        pictures = [_picture(decoder, frame.contents, plane) for frame in frames]
        rows = min(plane.tile_height, plane.height - row * plane.tile_height)
        for top in range(0, rows, base.STRIP_ROWS):
            few = min(base.STRIP_ROWS, rows - top)
            parts = [_part(picture, top, few, plane.tile_width) for picture in pictures]
            yield (parts[0] if len(parts) == 1 else np.hstack(parts))[:, : plane.width]
        for frame in frames:
            decoder.free(frame)


def _part(picture: libavif.Picture, top: int, rows: int, width: int) -> Pixels:
    return libavif.rows_of(picture, top, rows, 3)[:, :width]


def _picture(decoder: libavcodec.Decoder, frame: libavcodec.Frame, plane: Plane) -> libavif.Picture:
    """A decoded tile as libavif takes it. Raises ValueError if it has another size or form."""
    name, _, depth = decoder.format_of(frame).replace("yuvj", "yuv").partition("p")
    name, depth = (name + "p", depth) if not name.startswith("gray") else ("gray", name[4:])
    bits = int(depth.rstrip("le") or 8)
    if name not in _FORMATS or (frame.height, frame.width) != plane.coded:
        raise ValueError(f"a tile is {frame.width} x {frame.height} {name}, expected {plane}")
    picture = libavif.Picture(width=frame.width, height=frame.height, depth=bits)
    picture.format = _FORMATS[name]
    picture.transfer, matrix, picture.range = _coded(decoder, plane)
    picture.matrix = _IDENTITY if name == "gbrp" else matrix
    for i in range(1 if name == "gray" else 3):
        picture.planes[i], picture.strides[i] = frame.planes[i], frame.strides[i]
    return picture


def _coded(decoder: libavcodec.Decoder, plane: Plane) -> tuple[int, int, bool]:
    """(transfer, matrix, whether the range is full): as the container says, otherwise the coded
    data."""
    if plane.nclx:
        _, transfer, matrix, is_full = plane.nclx
    else:
        transfer, matrix = decoder.stated("color_trc"), decoder.stated("colorspace")
        is_full = decoder.stated("color_range") == _FULL
    return transfer, (_BT601 if matrix in (_UNKNOWN, _IDENTITY) else matrix), bool(is_full)


def _alphas(data: bytes, shown: Shown) -> Iterator[Pixels]:
    """The alpha of each strip of the colours, H x W."""
    mask = shown.alpha
    assert mask is not None
    strips = [strip[..., 0].copy() for strip in _rows(data, shown, mask)]
    whole = np.vstack(strips)
    if whole.shape != (shown.plane.height, shown.plane.width):
        size = shown.plane.width, shown.plane.height
        whole = cv2.resize(whole, size, interpolation=cv2.INTER_LINEAR)
    plane, top = shown.plane, 0
    while top < plane.height:
        row_end = (top // plane.tile_height + 1) * plane.tile_height
        end = min(top + base.STRIP_ROWS, row_end, plane.height)
        yield whole[top:end]
        top = end


def _joined(strip: Pixels, mask: Pixels, is_premultiplied: bool) -> Pixels:
    """RGB and alpha of one depth as straight RGBA."""
    if strip.dtype != mask.dtype:
        strip, mask = _deep(strip), _deep(mask)
    pixels = np.dstack([strip, mask])
    return base.straight(pixels) if is_premultiplied else pixels


def _deep(pixels: Pixels) -> Pixels:
    """8 bits as 16."""
    return pixels if pixels.dtype == np.uint16 else pixels.astype(np.uint16) * np.uint16(257)
