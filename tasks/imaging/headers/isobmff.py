"""Walks the boxes of ISO base media files: AVIF, HEIF and JPEG XL (ISO/IEC 14496-12)."""

import struct
from collections.abc import Iterator

from tasks.imaging.header import above, broken

_BOX = struct.Struct(">I4s")
_MAX_BOXES = 64
"""Most boxes side by side at the top level; pictures have three or four."""


def boxes(
    data: bytes, start: int, end: int, most: int = _MAX_BOXES
) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of its body, end) of each box between two positions. Raises BadInput."""
    for _ in range(most):
        if start + 8 > end:
            return
        size, kind = _BOX.unpack_from(data, start)
        body = start + 8
        if size == 1 and start + 16 <= end:
            size, body = int.from_bytes(data[body : body + 8], "big"), start + 16
        stop = start + size if size else end
        if stop > end or stop < body:
            raise broken("one of its boxes is cut short")
        yield kind, body, stop
        start = stop
    raise above("The file has too many boxes", f"{most}", "too_many_segments")


def size_of(data: bytes) -> int:
    """The size of the first box, which is `ftyp`."""
    return int.from_bytes(data[:4], "big")
