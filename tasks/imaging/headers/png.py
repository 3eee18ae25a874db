"""Reads a PNG's header from its chunks, and removes the chunks that pixels do not need."""

import struct
from collections.abc import Iterator

from tasks.imaging.header import Header, Limits, broken

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PALETTE = 3
_CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
_KEPT = _CRITICAL | {b"tRNS"}
_KEPT_WHEN_SMALL = {b"iCCP", b"eXIf"}
"""The colour profile and the orientation."""
_SMALL_BYTES = 65_536
_HEADER = struct.Struct(">I4s")
_IHDR = struct.Struct(">IIBBBBB")


def read(data: bytes, limits: Limits) -> Header:
    """The header of a PNG that starts with the signature. Raises BadInput."""
    width, height, bits, channels = _image_header(data)
    raw_bytes = height * ((width * bits * channels + 7) // 8 + 1)
    metadata_bytes = pixel_bytes = 0
    animated = False
    for kind, start, end in _chunks(data, limits.max_segments):
        if kind == b"IDAT":
            pixel_bytes += end - start - 12
        elif kind == b"tRNS":
            channels += channels in (1, 3)
        elif kind in _ANIMATION:
            animated = True
        elif kind not in _CRITICAL:
            metadata_bytes += end - start
    if not pixel_bytes:
        raise broken("the PNG has no pixels")
    # Deflate grows data by at most 0.1 %: more than this inflates to more than the picture.
    if pixel_bytes > raw_bytes + raw_bytes // 64 + 65_536:
        raise broken("the PNG holds more data than pixels", code="too_much_data")
    return Header("png", width, height, bits, channels, animated, metadata_bytes=metadata_bytes)


def strip_png(data: bytes) -> bytes:
    """The same picture with only the chunks that determine how it looks.

    Text is removed because inflating it can take a decoder seconds, animation because its frames
    can be larger than the header says. Bytes that are not a PNG are returned unchanged.
    """
    if not data.startswith(SIGNATURE):
        return data
    kept = [SIGNATURE]
    for kind, start, end in _chunks(data, len(data)):
        small = kind in _KEPT_WHEN_SMALL and end - start <= _SMALL_BYTES
        if small or kind in _KEPT:
            kept.append(data[start:end])
    return b"".join(kept)


def _image_header(data: bytes) -> tuple[int, int, int, int]:
    """(width, height, bits, channels)."""
    if data[8:16] != b"\0\0\0\rIHDR" or len(data) < 33:
        raise broken("the PNG does not start with its header")
    width, height, bits, colour, _, _, _ = _IHDR.unpack_from(data, 16)
    if bits not in _DEPTHS.get(colour, ()):
        raise broken(f"{bits} bits of colour type {colour} do not exist in PNG")
    return width, height, bits, _CHANNELS[colour]


def _chunks(data: bytes, max_chunks: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of each chunk up to IEND, including length and checksum."""
    position, size, count, kind = len(SIGNATURE), len(data), 0, b""
    while kind != b"IEND":
        count += 1
        if count > max_chunks:
            raise broken(f"more than {max_chunks} chunks", code="too_many_segments")
        if position + 12 > size:
            raise broken("the PNG is cut short")
        length, kind = _HEADER.unpack_from(data, position)
        start, position = position, position + 12 + length
        if position > size:
            raise broken("the PNG is cut short")
        yield kind, start, position
