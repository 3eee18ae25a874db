"""Reads an AVIF's header: the largest size that its boxes state."""

import struct
from collections.abc import Iterator

from tasks.imaging.header import Header, Limits, broken

_BOX = struct.Struct(">I4s")
_SIZE = struct.Struct(">II")
_SIZES_IN = {b"meta": (b"ispe", 8, 0), b"moov": (b"tkhd", 80, 16)}
"""Box -> (kind of box inside it, offset of width and height from its name, fractional bits)."""
_MAX_BOXES = 64
"""Most boxes at the top level; an AVIF has three or four."""


def read(data: bytes, limits: Limits) -> Header:
    """The header of an ISO file with an AVIF brand. Raises BadInput."""
    width = height = metadata_bytes = 0
    for kind, start, end in _boxes(data):
        if kind in _SIZES_IN:
            metadata_bytes += end - start
            for box_width, box_height in _sizes(data, start, end, kind, limits.max_segments):
                width, height = max(width, box_width), max(height, box_height)
    if not width or not height:
        raise broken("the AVIF states no size")
    brands = data[8 : min(_BOX.unpack_from(data)[0], 256)]
    return Header(
        "avif",
        width,
        height,
        channels=4,
        animated=b"avis" in brands,
        metadata_bytes=metadata_bytes,
    )


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of the boxes at the top level."""
    position, total = 0, len(data)
    for _ in range(_MAX_BOXES):
        if position + 8 > total:
            return
        size, kind = _BOX.unpack_from(data, position)
        if size == 1 and position + 16 <= total:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        end = position + size if size else total
        if end > total or end < position + 8:
            raise broken("the AVIF is cut short")
        yield kind, position, end
        position = end
    raise broken("the AVIF has too many boxes", code="too_many_segments")


def _sizes(
    data: bytes, start: int, end: int, kind: bytes, max_boxes: int
) -> Iterator[tuple[int, int]]:
    """(width, height) of every size box. Boxes are found by name, so no nesting hides one."""
    name, offset, places = _SIZES_IN[kind]
    at = data.find(name, start, end)
    for _ in range(max_boxes):
        if at < 0 or at + offset + 8 > end:
            return
        width, height = _SIZE.unpack_from(data, at + offset)
        yield width >> places, height >> places
        at = data.find(name, at + 4, end)
    raise broken("the AVIF states too many sizes", code="too_many_segments")
