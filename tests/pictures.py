"""Writes TIFF, BMP, GIF, JPEG XL and HEIF files, bit by bit where no library writes them so."""

import functools
import io
import struct
from collections.abc import Sequence
from typing import Any

import imagecodecs._jpegxl
import numpy as np
import pillow_heif
from PIL import Image

Entry = tuple[int, int, Sequence[int]]
"""Tag, type (1 byte, 3 short, 4 long), values."""

_CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}


def tiff(
    entries: Sequence[Entry], pixels: bytes, order: str = "<", big: bool = False, following: int = 0
) -> bytes:
    """A TIFF of one page; its pixels lie at 16, where the strips' offsets should point."""
    start = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    offset, count, room = ("Q", "Q", 8) if big else ("I", "H", 4)
    body = pixels + bytes(-len(pixels) % 8)
    packed = b""
    for tag, kind, values in sorted(entries):
        data = struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values)
        if len(data) > room:
            place, body = 16 + len(body), body + data + bytes(-len(data) % 8)
            data = struct.pack(order + offset, place)
        packed += struct.pack(order + "HH" + offset, tag, kind, len(values)) + data.ljust(
            room, b"\0"
        )
    page = (
        struct.pack(order + count, len(entries)) + packed + struct.pack(order + offset, following)
    )
    head = (
        struct.pack(order + "HHQ", 8, 0, 16 + len(body))
        if big
        else struct.pack(order + "I", 16 + len(body))
    )
    return (start + head).ljust(16, b"\0") + body + page


def plain_tiff(
    pixels: np.ndarray, photometric: int = 2, extra: Sequence[Entry] = (), **options: Any
) -> bytes:
    """H x W x C of 8 or 16 bits, uncompressed in one strip."""
    order = options.get("order", "<")
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    return tiff([*shape_tags(pixels, photometric), *strip_tags(len(data)), *extra], data, **options)


def shape_tags(pixels: np.ndarray, photometric: int) -> list[Entry]:
    height, width, channels = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    return [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [bits] * channels),
        (262, 3, [photometric]),
        (277, 3, [channels]),
    ]


def strip_tags(size: int, compression: int = 1) -> list[Entry]:
    """One strip that holds everything."""
    return [(259, 3, [compression]), (273, 4, [16]), (278, 4, [2**32 - 1]), (279, 4, [size])]


def tiled_tiff(pixels: np.ndarray, side: int, planar: bool = False) -> bytes:
    """H x W x 3, uncompressed, in tiles of side x side; each channel by itself if `planar`."""
    height, width, channels = pixels.shape
    down, across = -(-height // side), -(-width // side)
    padded = np.pad(pixels, ((0, down * side - height), (0, across * side - width), (0, 0)))
    planes = np.split(padded, channels, 2) if planar else [padded]
    tiles = [
        plane[y : y + side, x : x + side].tobytes()
        for plane in planes
        for y in range(0, down * side, side)
        for x in range(0, across * side, side)
    ]
    size = len(tiles[0])
    tags = [
        *shape_tags(pixels, 2),
        (259, 3, [1]),
        (284, 3, [2 if planar else 1]),
        (322, 3, [side]),
        (323, 3, [side]),
        (324, 4, [16 + size * i for i in range(len(tiles))]),
        (325, 4, [size] * len(tiles)),
    ]
    return tiff(tags, b"".join(tiles))


def bmp(
    rows: bytes,
    width: int,
    height: int,
    bits: int,
    compression: int = 0,
    palette: bytes = b"",
    masks: Sequence[int] = (),
    header_bytes: int = 40,
) -> bytes:
    """A BMP of parts. `height` is negative where the first row is the top one."""
    header = struct.pack(
        "<IiiHHIIiiII",
        header_bytes,
        width,
        height,
        1,
        bits,
        compression,
        len(rows),
        0,
        0,
        len(palette) // 4,
        0,
    )
    after = struct.pack(f"<{len(masks)}I", *masks)
    header = (header + after).ljust(header_bytes, b"\0") if header_bytes > 40 else header + after
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + header + palette + rows


def bmp_rows(packed: np.ndarray) -> bytes:
    """height x bytes of a row -> rows filled up to whole words."""
    return b"".join(row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in packed)


def gif(screen: tuple[int, int], *blocks: bytes, palette: bytes = b"") -> bytes:
    """A GIF of parts; the screen is (width, height)."""
    flags = 0x80 | (len(palette) // 3).bit_length() - 2 if palette else 0
    return (
        b"GIF89a" + struct.pack("<HHBBB", *screen, flags, 0, 0) + palette + b"".join(blocks) + b";"
    )


def gif_frame(left: int, top: int, width: int, height: int, data: bytes) -> bytes:
    """A frame; its data are the code size and the sub-blocks."""
    return b"," + struct.pack("<HHHHB", left, top, width, height, 0) + data


def sub_blocks(data: bytes) -> bytes:
    parts = [data[i : i + 255] for i in range(0, len(data), 255)]
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def gif_codes(indices: Sequence[int], bits: int = 8) -> bytes:
    """Code size and sub-blocks of indices, without compression: the table is cleared in time."""
    clear, end = 1 << bits, (1 << bits) + 1
    number, filled, room = 0, 0, (1 << bits) - 2
    codes = [code for i in range(0, len(indices), room) for code in (clear, *indices[i : i + room])]
    for code in (*codes, end):
        number |= code << filled
        filled += bits + 1
    return bytes([bits]) + sub_blocks(number.to_bytes(-(-filled // 8), "little"))


def jxl(pixels: np.ndarray, **options: Any) -> bytes:
    """A JPEG XL of H x W x C, lossless unless a `level` (quality) is given."""
    return bytes(imagecodecs._jpegxl.jpegxl_encode(np.ascontiguousarray(pixels), **options))


def jxl_header(*fields: tuple[int, int]) -> bytes:
    """A bare codestream of fields, (bits, value) each."""
    number = filled = 0
    for bits, value in fields:
        number |= value << filled
        filled += bits
    return b"\xff\x0a" + number.to_bytes(-(-filled // 8), "little")


def jxl_size(width: int, height: int) -> list[tuple[int, int]]:
    """The fields of a size."""
    return [(1, 0), (2, 3), (30, height - 1), (3, 0), (2, 3), (30, width - 1)]


def heif(picture: Image.Image, **options: Any) -> bytes:
    """An HEIF by libheif and x265."""
    buffer = io.BytesIO()
    pillow_heif.from_pillow(picture).save(buffer, **{"quality": 90, "chroma": 444, **options})
    return buffer.getvalue()


@functools.cache
def turned_heif(orientation: int) -> bytes:
    """A HEIF that is turned by its container, `irot` and `imir`, and whose EXIF repeats it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:32, :48], pixels[:32, 48:] = (200, 30, 30), (30, 200, 30)
    pixels[32:, :48], pixels[32:, 48:] = (30, 30, 200), (200, 200, 30)
    file = pillow_heif.from_pillow(Image.fromarray(pixels))
    buffer = io.BytesIO()
    file.save(buffer, quality=100, chroma=444, exif=exif.tobytes())
    return buffer.getvalue()
