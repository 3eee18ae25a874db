"""Opens a BMP: its rows are plain numbers; only run lengths are left to OpenCV."""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging import colour
from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header
from tasks.imaging.headers import bmp
from tasks.imaging.headers.bmp import Layout
from tasks.imaging.sources import base
from tasks.imaging.sources.base import Source


def open_source(data: bytes, header: Header) -> Source:
    """The picture in a file that the guard has accepted as a BMP."""
    layout = bmp.layout(data)
    if (layout.width, layout.height) != (header.width, header.height):
        raise ValueError(f"the picture is {layout.width} x {layout.height}, header {header}")
    profile = data[layout.profile]
    return Source(
        layout.width,
        layout.height,
        colour.find(data, header, {"icc_profile": profile} if profile else {}),
        lambda: _strips(data, layout),
        lambda height, width: base.shrink(_strips(data, layout), header.height, (height, width)),
    )


def _strips(data: bytes, layout: Layout) -> Iterator[Pixels]:
    if layout.compression in (bmp.RLE8, bmp.RLE4):
        palette = _palette(data, layout)
        for indices in base.sliced(_run_lengths(data, layout)):
            yield base.looked_up(indices, palette)
        return
    rows, has_alpha = _rows(data, layout), _has_alpha(data, layout)
    for top in range(0, layout.height, base.STRIP_ROWS):
        yield _meant(rows[top : top + base.STRIP_ROWS], data, layout, has_alpha)


def _rows(data: bytes, layout: Layout) -> NDArray[np.uint8]:
    """height x bytes of a row, from top to bottom."""
    size = layout.row_bytes * layout.height
    padded = data[layout.offset : layout.offset + size].ljust(size, b"\0")
    rows = np.frombuffer(padded, np.uint8).reshape(layout.height, layout.row_bytes)
    return rows if layout.is_top_down else rows[::-1]


def _meant(rows: NDArray[np.uint8], data: bytes, layout: Layout, has_alpha: bool) -> Pixels:
    """Rows of bytes -> RGB or RGBA."""
    width = layout.width
    if layout.bits == 24:
        return np.ascontiguousarray(rows[:, : 3 * width].reshape(len(rows), width, 3)[..., ::-1])
    if layout.bits > 8:
        values = _words(rows, layout)
        masks = layout.masks if has_alpha else layout.masks[:3]
        return np.stack([_channel(values, mask) for mask in masks], -1)
    shifts = np.arange(8 - layout.bits, -1, -layout.bits, dtype=np.uint8)
    indices = (rows[..., None] >> shifts & ((1 << layout.bits) - 1)).reshape(len(rows), -1)
    return base.looked_up(np.ascontiguousarray(indices[:, :width]), _palette(data, layout))


def _words(rows: NDArray[np.uint8], layout: Layout) -> NDArray[np.uint32]:
    kind = np.dtype(f"<u{layout.bits // 8}")
    return np.ascontiguousarray(rows).view(kind)[:, : layout.width].astype(np.uint32)


def _channel(values: NDArray[np.uint32], mask: int) -> NDArray[np.uint8]:
    """What a mask selects, stretched to 0..255; a mask of nothing is 0."""
    if not mask:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    if most == 255:
        return (values >> np.uint32(shift)).astype(np.uint8)
    stretched = ((values & np.uint32(mask)) >> np.uint32(shift)) * (255.0 / most)
    return (stretched + 0.5).astype(np.uint8)


def _has_alpha(data: bytes, layout: Layout) -> bool:
    """Whether there is an alpha that is not 0 everywhere, which means that it was not set."""
    if not layout.masks[3]:
        return False
    return any(bool((_words(row, layout) & layout.masks[3]).any()) for row in _blocks(data, layout))


def _blocks(data: bytes, layout: Layout) -> Iterator[NDArray[np.uint8]]:
    rows = _rows(data, layout)
    return (rows[top : top + base.STRIP_ROWS] for top in range(0, len(rows), base.STRIP_ROWS))


def _palette(data: bytes, layout: Layout) -> Pixels:
    """256 x 3 RGB; what the file leaves out is black."""
    size = layout.palette_entry_bytes
    stored = data[layout.palette]
    entries = np.frombuffer(stored[: len(stored) // size * size], np.uint8).reshape(-1, size)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(entries)] = entries[:256, 2::-1]
    return palette


def _run_lengths(data: bytes, layout: Layout) -> Pixels:
    """height x width numbers of colours: OpenCV gets a palette of greys, each its own number."""
    size = layout.palette_entry_bytes
    greys = b"".join(bytes([i, i, i, 0][:size]) for i in range(1 << layout.bits))
    start, end = layout.palette.start, layout.palette.stop
    grey = data[:start] + greys[: end - start] + data[end:]
    indices = cv2.imdecode(np.frombuffer(grey, np.uint8), cv2.IMREAD_GRAYSCALE)
    if indices is None or indices.shape != (layout.height, layout.width):
        raise ValueError("OpenCV cannot decode it")
    return indices
