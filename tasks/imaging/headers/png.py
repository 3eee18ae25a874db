"""Reads a PNG's header from its chunks, and removes the chunks that pixels do not need."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.imaging.header import Header, Limits, above, broken, too_many_parts

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"tRNS"}
_ORIENTATION = b"eXIf"
"""Kept when it is small; the first of it. It is moved before the pixels: behind them, where some
editors write it, Pillow would see it too late. Colours are read from the whole file (cms/png.py):
Pillow would refuse it for a profile above its own limit."""
_SMALL_BYTES = 65_536
_END = b"\0\0\0\0IEND\xaeB`\x82"
_HEADER = struct.Struct(">I4s")
_IHDR = struct.Struct(">IIBBBBB")


@dataclass
class _Seen:
    """What the chunks have said so far."""

    pixel_bytes: int = 0
    has_key: bool = False
    animated: bool = False


def read(data: bytes, limits: Limits, most_parts: int) -> Header:
    """The header of a PNG that starts with the signature. Raises BadInput."""
    width, height, bits, channels = _image_header(data)
    seen, count = _Seen(), 0
    for kind, start, end in _chunks(data):
        if (count := count + 1) > most_parts:
            break
        if kind == b"IDAT":
            seen.pixel_bytes += end - start - 12
        elif kind == b"tRNS":
            seen.has_key = True
        elif kind in _ANIMATION:
            seen.animated = True
    if count > limits.max_segments:
        raise too_many_parts("chunks", limits)
    if count <= most_parts:
        _check_pixels(seen.pixel_bytes, height * ((width * bits * channels + 7) // 8 + 1))
    channels += seen.has_key and channels in (1, 3)
    return Header(
        "png", width, height, bits, channels, seen.animated, is_complete=count <= most_parts
    )


def strip_png(data: bytes) -> bytes:
    """The same picture with only the chunks that determine how it looks.

    Text is removed because inflating it can take a decoder seconds, animation because its frames
    can be larger than the header says. Bytes that are not a PNG are returned unchanged.
    """
    if not data.startswith(SIGNATURE):
        return data
    kept: list[bytes] = []
    exif: bytes | None = None
    for kind, start, end in _chunks(data):
        if kind in _KEPT:
            kept.append(data[start:end])
        elif kind == _ORIENTATION and exif is None:
            exif = data[start:end] if end - start <= _SMALL_BYTES else b""
    return b"".join([SIGNATURE, *kept[:1], exif or b"", *kept[1:], _END])


def _check_pixels(pixel_bytes: int, raw_bytes: int) -> None:
    if not pixel_bytes:
        raise broken("the PNG has no pixels")
    # Deflate grows data by at most 0.1 %: more than this inflates to more than the picture.
    if pixel_bytes > raw_bytes + raw_bytes // 64 + 65_536:
        most = f"{raw_bytes + raw_bytes // 64 + 65_536:,} bytes at its size"
        raise above("The PNG holds more data than pixels", most, "too_much_data")


def _image_header(data: bytes) -> tuple[int, int, int, int]:
    """(width, height, bits, channels)."""
    if data[8:16] != b"\0\0\0\rIHDR" or len(data) < 33:
        raise broken("the PNG does not start with its header")
    width, height, bits, colour, _, _, _ = _IHDR.unpack_from(data, 16)
    if bits not in _DEPTHS.get(colour, ()):
        raise broken(f"{bits} bits of colour type {colour} do not exist in PNG")
    return width, height, bits, _CHANNELS[colour]


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of each chunk up to IEND, including length and checksum.

    IEND itself may be missing: programs show such a picture, as all of its pixels are there.
    """
    position, size, kind = len(SIGNATURE), len(data), b""
    while kind != b"IEND" and position + 12 <= size:
        length, kind = _HEADER.unpack_from(data, position)
        start, position = position, position + 12 + length
        if position > size:
            raise broken("the PNG is cut short")
        yield kind, start, position
