"""Reads a BMP's header: where its pixels lie, and what their bits mean."""

import struct
from dataclasses import dataclass

from tasks.imaging.header import Header, Limits, broken, unsupported

_CORE, _INFO, _OS2 = 12, 40, 64
_SIZES = {_CORE, _INFO, 52, 56, _OS2, 108, 124}
"""Sizes of the headers that there are, by which programs tell them apart."""
PLAIN, RLE8, RLE4, _MASKS, _ALPHA_MASKS = 0, 1, 2, 3, 6
_INSIDE = {4: "JPEG", 5: "PNG"}
_DEPTHS = {PLAIN: (1, 2, 4, 8, 16, 24, 32), RLE8: (8,), RLE4: (4,), _MASKS: (16, 32),
           _ALPHA_MASKS: (16, 32)}  # fmt: skip
_DEFAULT_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
_EMBEDDED = b"DEBM"
"""A fifth version's header whose colour space is an ICC profile in the file."""


@dataclass(frozen=True)
class Layout:
    """What a decoder needs to know."""

    width: int
    height: int
    bits: int
    """Of a pixel."""
    compression: int
    offset: int
    """Where the rows begin."""
    is_top_down: bool
    palette: slice
    palette_entry_bytes: int
    masks: tuple[int, int, int, int]
    """Which bits are red, green, blue and alpha; 16 and 32 bits only."""
    profile: slice
    """Where an ICC profile lies."""

    @property
    def row_bytes(self) -> int:
        """Rows are filled up to whole words."""
        return (self.width * self.bits + 31) // 32 * 4


def read(data: bytes, limits: Limits, most_parts: int) -> Header:
    """The header of a file that starts with BM. Raises BadInput."""
    found = layout(data)
    last_row = (found.width * found.bits + 7) // 8
    used = found.offset + found.row_bytes * (found.height - 1) + last_row
    if found.compression not in (RLE8, RLE4) and used > len(data):
        raise broken("the BMP is cut short")
    return Header("bmp", found.width, found.height, 8, 4 if found.masks[3] else 3)


def layout(data: bytes) -> Layout:
    """Where everything lies in a BMP. Raises BadInput, or struct.error if it is cut short."""
    offset, size = struct.unpack_from("<4xI", data, 6)[0], struct.unpack_from("<I", data, 14)[0]
    if size not in _SIZES:
        raise broken("the BMP's header has no known size")
    width, height, bits, compression, colours = _numbers(data, size)
    if compression in _INSIDE and size != _OS2:
        raise unsupported(f"A BMP with a {_INSIDE[compression]} inside")
    if bits not in _DEPTHS.get(compression, ()) or size == _OS2 and compression > RLE4:
        raise unsupported(f"A BMP of {bits} bits with compression {compression}")
    if width <= 0 or not height or (height < 0 and compression in (RLE8, RLE4)):
        raise broken("the BMP's size is wrong")
    masks, mask_bytes = _masks(data, size, bits, compression)
    start, entry_bytes = 14 + size + mask_bytes, 3 if size == _CORE else 4
    entries = min(colours or 1 << bits, 1 << bits) if bits <= 8 else 0
    end = min(start + entries * entry_bytes, max(start, offset))
    if bits <= 8 and end == start:
        raise broken("the BMP has no palette")
    return Layout(
        width, abs(height), bits, compression, offset, height < 0, slice(start, end), entry_bytes,
        masks, _profile(data, size),
    )  # fmt: skip


def _numbers(data: bytes, size: int) -> tuple[int, int, int, int, int]:
    """(width, height, bits, compression, colours used)."""
    if size == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return width, height, bits, PLAIN, 0
    width, height, _, bits, compression, colours = struct.unpack_from("<iiHHI12xI", data, 18)
    return width, height, bits, compression, colours


def _masks(
    data: bytes, size: int, bits: int, compression: int
) -> tuple[tuple[int, int, int, int], int]:
    """The masks, and how many bytes they take behind the header."""
    if bits not in _DEFAULT_MASKS:
        return (0, 0, 0, 0), 0
    if compression == PLAIN:
        return _DEFAULT_MASKS[bits], 0
    count = 4 if compression == _ALPHA_MASKS or size >= 56 else 3
    masks = struct.unpack_from(f"<{count}I", data, 14 + _INFO)
    red, green, blue, alpha = (*masks, 0)[:4]
    if red & green or green & blue or red & blue or not red | green | blue:
        raise broken("the BMP's masks overlap")
    if (red | green | blue | alpha) >> bits:
        raise broken("the BMP's masks are wider than its pixels")
    return (red, green, blue, alpha), 4 * count if size == _INFO else 0


def _profile(data: bytes, size: int) -> slice:
    if size < 124 or data[14 + 56 : 14 + 60] != _EMBEDDED:
        return slice(0, 0)
    start, length = struct.unpack_from("<II", data, 14 + 112)
    return slice(14 + start, 14 + start + length)
