"""Malformed, extreme and odd but whole files of HEIF, TIFF, BMP, GIF and JPEG XL for corpus.py."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import pictures
from PIL import Image

Cases = Iterator[tuple[str, bytes | Callable[[], bytes], int]]

_SLOPE = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint8)
_RGB = np.dstack([_SLOPE, _SLOPE * 2, 255 - _SLOPE])
_NOISE = np.random.default_rng(8).integers(0, 256, (64, 96, 3), np.uint8)


def patched(data: bytes, old: bytes, new: bytes, offset: int = 0) -> bytes:
    """`new` written `offset` bytes behind the end of the first `old`."""
    at = data.index(old) + len(old) + offset
    return data[:at] + new + data[at + len(new) :]


def cut(name: str, whole: bytes) -> Cases:
    """At every eighth."""
    for eighth in range(1, 8):
        yield f"cut-{eighth}-{name}", whole[: len(whole) * eighth // 8], 422


def save(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def tiffs() -> Cases:
    photo, strips = Image.fromarray(_NOISE), pictures.strip_tags
    shape = pictures.shape_tags(_RGB, 2)
    yield "palette.tif", save(photo.quantize(64), "TIFF"), 200
    yield "lzw.tif", save(photo, "TIFF", compression="tiff_lzw"), 200
    yield "deflate.tif", save(photo, "TIFF", compression="tiff_adobe_deflate"), 200
    yield "jpeg-inside.tif", save(photo, "TIFF", compression="jpeg"), 200
    yield "big-endian.tif", pictures.plain_tiff(_RGB, order=">"), 200
    yield "bigtiff.tif", pictures.plain_tiff(_RGB, big=True), 200
    yield "tiles.tif", pictures.tiled_tiff(_RGB, 32), 200
    yield "next-page-is-itself.tif", pictures.plain_tiff(_RGB, following=16 + _RGB.size), 200
    yield "next-page-is-nowhere.tif", pictures.plain_tiff(_RGB, following=2**31), 200
    yield from cut("lzw.tif", save(photo, "TIFF", compression="tiff_lzw"))
    plain = pictures.plain_tiff(_RGB)
    yield "no-page.tif", plain[:4] + bytes(4) + plain[8:], 422
    yield "page-beyond-end.tif", plain[:4] + struct.pack("<I", 2**31) + plain[8:], 422
    count = 16 + _RGB.size
    yield "tags-65535.tif", plain[:count] + b"\xff\xff" + plain[count + 2 :], 422
    many = [(60_000, 4, [1])] * 40_000
    yield "tags-40000.tif", pictures.tiff([*shape, *many], _RGB.tobytes()), 422
    for name, tag, values in (
        *(("no-width", 256, [0]), ("wide", 256, [2**31]), ("no-height", 257, [0])),
        *(("7-bits", 258, [7] * 3), ("mixed-bits", 258, [8, 8, 16]), ("32-bits", 258, [32] * 3)),
        *(("lab", 262, [8]), ("sensor", 262, [32803]), ("200-channels", 277, [200])),
        *(("fax", 259, [3]), ("old-jpeg", 259, [6]), ("jpeg-2000", 259, [34712])),
        *(("unknown-coding", 259, [777]), ("strip-beyond-end", 273, [2**31])),
        *(("floats", 339, [3, 3, 3]), ("raw", 50706, [1, 4, 0, 0])),
        *(("says-more", 257, [9000]), ("not-lzw", 259, [5]), ("not-deflate", 259, [8])),
        *(("not-jpeg", 259, [7]), ("not-zstandard", 259, [50000]), ("not-lzma", 259, [34925])),
    ):
        tags = {entry[0]: entry for entry in [*shape, *strips(_RGB.size)]}
        tags[tag] = (tag, 4, values)
        yield f"{name}.tif", pictures.tiff(list(tags.values()), _RGB.tobytes()), 422
    large = [
        *pictures.shape_tags(np.zeros((1, 1, 3), np.uint8), 2)[2:],
        (256, 4, [8000]),
        (257, 4, [8000]),
    ]
    yield "deflate-bomb.tif", partial(_deflate_bomb, large), 200
    yield "lzw-of-nothing.tif", pictures.tiff([*large, *strips(9, 5)], b"\x80" + bytes(8)), 422
    tile = [(324, 4, [16]), (325, 4, [64]), (259, 3, [8])]
    yield (
        "tile-of-a-billion.tif",
        pictures.tiff([*large, *tile, (322, 4, [2**20]), (323, 4, [2**20])], bytes(64)),
        422,
    )
    yield (
        "tiles-of-nothing.tif",
        pictures.tiff([*large, *tile, (322, 4, [0]), (323, 4, [0])], bytes(64)),
        422,
    )
    yield (
        "too-few-tiles.tif",
        pictures.tiff([*large, *tile, (322, 4, [16]), (323, 4, [16])], bytes(64)),
        422,
    )


def _deflate_bomb(tags: list[pictures.Entry]) -> bytes:
    """64 megapixels of one colour in 190 kB."""
    data = zlib.compress(bytes(8000 * 8000 * 3), 1)
    return pictures.tiff([*tags, *pictures.strip_tags(len(data), 8)], data)


def bmps() -> Cases:
    rows = pictures.bmp_rows(_RGB[..., ::-1])
    make = pictures.bmp
    plain = make(rows, 96, 64, 24)
    yield "plain.bmp", plain, 200
    yield "top-down.bmp", make(rows, 96, -64, 24), 200
    yield "os2.bmp", _os2_bmp(rows), 200
    yield "runs.bmp", make(b"\x60\x07\0\0" * 63 + b"\x60\x09\0\1", 96, 64, 8, 1, bytes(1024)), 200
    yield from cut("plain.bmp", plain)
    words, masks = bytes(96 * 64 * 4), (0xFF0000, 0xFF00, 0xFF)
    yield "masks.bmp", make(words, 96, 64, 32, 3, masks=masks), 200
    for name, wrong in (
        *(("masks-overlap", (0xFF, 0xFF, 0xFF)), ("masks-of-nothing", (0, 0, 0))),
        ("masks-too-wide", (0xFF0000, 0xFF00, 0xFF)),
    ):
        yield f"{name}.bmp", make(words, 96, 64, 16 if "wide" in name else 32, 3, masks=wrong), 422
    for name, offset, new in (
        *(("header-of-13", 14, b"\x0d"), ("header-of-2-gib", 14, b"\xff\xff\xff\x7f")),
        *(("no-width", 18, bytes(4)), ("negative-width", 18, b"\xff" * 4)),
        *(("no-height", 22, bytes(4)), ("lowest-height", 22, b"\0\0\0\x80")),
        *(("wide", 18, b"\xff\xff\xff\x7f"), ("7-bits", 28, b"\7"), ("64-bits", 28, b"\x40")),
        *(("jpeg-inside", 30, b"\4"), ("png-inside", 30, b"\5"), ("coding-99", 30, b"\x63")),
        *(("pixels-beyond-end", 10, b"\xff\xff\xff\x7f"), ("says-more", 22, b"\0\x10")),
        ("no-palette", 28, b"\1"),
    ):
        yield f"{name}.bmp", plain[:offset] + new + plain[offset + len(new) :], 422
    bomb = make(b"\0\2\xff\xff" * 64 + b"\0\1", 8000, 8000, 8, 1, bytes(1024))
    yield "runs-of-nothing.bmp", bomb, 200
    yield "runs-upside-down.bmp", make(bytes(99), 96, -64, 8, 1, bytes(1024)), 422


def _os2_bmp(rows: bytes) -> bytes:
    header = struct.pack("<IHHHH", 12, 96, 64, 1, 24)
    return b"BM" + struct.pack("<IHHI", 26 + len(rows), 0, 0, 26) + header + rows


def gifs() -> Cases:
    grey = bytes(value for i in range(256) for value in (i, i, i))
    codes = pictures.gif_codes([7] * (96 * 64))
    make, frame = partial(pictures.gif, palette=grey), pictures.gif_frame
    whole = make((96, 64), frame(0, 0, 96, 64, codes))
    yield "plain.gif", whole, 200
    yield "frame-beyond-screen.gif", make((16, 16), frame(50, 20, 96, 64, codes)), 200
    yield "no-screen.gif", make((0, 0), frame(0, 0, 96, 64, codes)), 200
    yield "no-palette.gif", pictures.gif((96, 64), frame(0, 0, 96, 64, codes)), 200
    yield "stray-bytes.gif", make((96, 64), bytes(9), frame(0, 0, 96, 64, codes)), 200
    comment = b"!\xfe" + pictures.sub_blocks(b"a" * 60_000)
    yield "long-comment.gif", make((96, 64), comment, frame(0, 0, 96, 64, codes)), 200
    for eighth in range(1, 8):
        yield f"cut-{eighth}-plain.gif", whole[: len(whole) * eighth // 8], 422
    yield "no-frame.gif", make((96, 64)), 422
    yield "only-screen.gif", whole[:13], 422
    yield "frame-of-nothing.gif", make((96, 64), frame(0, 0, 0, 64, codes)), 422
    yield "frame-of-4-gigapixels.gif", make((96, 64), frame(0, 0, 65_535, 65_535, codes)), 422
    yield "far-frame.gif", make((96, 64), frame(65_000, 65_000, 96, 64, codes)), 422
    yield "code-size-12.gif", make((96, 64), frame(0, 0, 96, 64, b"\x0c" + codes[1:])), 422
    yield "code-size-0.gif", make((96, 64), frame(0, 0, 96, 64, b"\0" + codes[1:])), 422
    yield "no-codes.gif", make((96, 64), frame(0, 0, 96, 64, b"\x08\0")), 422
    noise = b"\x08" + pictures.sub_blocks(np.random.default_rng(4).bytes(9000))
    yield "noise.gif", make((96, 64), frame(0, 0, 96, 64, noise)), 422
    comments = b"!\xfe\0" * 40_000
    yield "comments-40000.gif", make((96, 64), comments, frame(0, 0, 96, 64, codes)), 422
    tiny = b"!\xfe" + b"\1a" * 1_000_000 + b"\0"
    yield "sub-blocks-1000000.gif", make((96, 64), tiny, frame(0, 0, 96, 64, codes)), 422
    yield "cut-comment.gif", make((96, 64), b"!\xfe" + b"\xffab"), 422
    yield "64-megapixels.gif", partial(_large_gif, grey), 200


def _large_gif(palette: bytes) -> bytes:
    """8000 x 8000 of one colour: a run grows by one pixel with each code."""
    return save(Image.new("P", (8000, 8000), 3), "GIF")


def jxls() -> Cases:
    whole = pictures.jxl(_NOISE)
    yield "lossless.jxl", whole, 200
    yield "lossy.jxl", pictures.jxl(_RGB, level=80), 200
    boxed = _boxed(whole)
    yield "container.jxl", boxed, 200
    yield "in-parts.jxl", _boxed(whole, parts=3), 200
    yield from cut("lossless.jxl", whole)
    yield "only-signature.jxl", whole[:2], 422
    yield "noise.jxl", whole[:12] + np.random.default_rng(5).bytes(3000), 422
    size, usual = pictures.jxl_size, (1, 1)
    fields = pictures.jxl_header
    yield "says-64-megapixels.jxl", fields(*size(8000, 8000), usual) + bytes(200), 422
    yield "says-too-much.jxl", fields(*size(2**30, 2**30), usual) + bytes(200), 422
    yield "only-header.jxl", fields(*size(96, 64), usual), 422
    odd = (*size(96, 64), (1, 0), (1, 0), (1, 0), (2, 0), (1, 1))
    yield "extra-channels-4096.jxl", fields(*odd, (2, 3), (12, 4095)) + bytes(200), 422
    yield "extra-channels-5.jxl", fields(*odd, (2, 2), (4, 3)) + bytes(200), 422
    black = ((2, 1), (1, 0), (2, 2), (4, 2), (1, 0), (2, 0), (2, 0), (2, 0))
    yield "inks.jxl", fields(*odd, *black) + bytes(200), 422
    name = ((2, 1), (1, 0), (2, 0), (1, 0), (2, 0), (2, 0), (2, 3), (10, 1023))
    yield "long-name.jxl", fields(*odd, *name) + bytes(200), 422
    signature = b"\0\0\0\x0cJXL \r\n\x87\n"
    brand = struct.pack(">I4s", 20, b"ftyp") + b"jxl \0\0\0\0jxl "
    yield "no-codestream.jxl", signature + brand, 422
    brotli = struct.pack(">I4s", 16, b"brob") + b"Exif\xff\xff\xff\xff"
    yield "compressed-boxes-100.jxl", signature + brand + brotli * 100 + boxed[32:], 422
    yield "compressed-box.jxl", signature + brand + brotli + boxed[32:], 200
    yield "box-too-long.jxl", signature + brand + struct.pack(">I4s", 2**31, b"jxlc") + whole, 422
    yield "box-too-short.jxl", signature + brand + struct.pack(">I4s", 3, b"jxlc") + whole, 422
    yield (
        "no-picture-in-box.jxl",
        signature + brand + struct.pack(">I4s", 40, b"jxlc") + bytes(32),
        422,
    )


def _boxed(stream: bytes, parts: int = 1) -> bytes:
    """A codestream in a container, whole or in parts."""
    start = b"\0\0\0\x0cJXL \r\n\x87\n" + struct.pack(">I4s", 20, b"ftyp") + b"jxl \0\0\0\0jxl "
    if parts == 1:
        return start + struct.pack(">I4s", 8 + len(stream), b"jxlc") + stream
    step = -(-len(stream) // parts)
    for i in range(parts):
        number = i | (2**31 if i == parts - 1 else 0)
        part = stream[i * step : (i + 1) * step]
        start += struct.pack(">I4sI", 12 + len(part), b"jxlp", number) + part
    return start


def heifs() -> Cases:
    photo = Image.fromarray(_NOISE)
    whole, grid = pictures.heif(photo), pictures.heif(photo, tile_size=32)
    yield "plain.heic", whole, 200
    yield "grid.heic", grid, 200
    yield "alpha.heic", pictures.heif(photo.convert("RGBA")), 200
    yield from cut("plain.heic", whole)
    brand = whole[: int.from_bytes(whole[:4], "big")]
    yield "only-brand.heic", brand, 422
    yield "no-meta.heic", brand + struct.pack(">I4s", 8, b"mdat"), 422
    yield "empty-meta.heic", brand + struct.pack(">I4sI", 12, b"meta", 0), 422
    for kind in (b"pitm", b"iloc", b"iinf", b"iprp", b"ipco", b"ipma", b"ispe", b"hvcC"):
        yield f"no-{kind.decode().lower()}.heic", whole.replace(kind, b"free"), 422
    size = struct.pack
    yield "says-nothing.heic", patched(whole, b"ispe", bytes(8), 4), 422
    yield "says-too-much.heic", patched(whole, b"ispe", size(">II", 2**31, 2**31), 4), 422
    yield "says-more.heic", patched(whole, b"ispe", size(">II", 9000, 5500), 4), 422
    yield "says-less.heic", patched(whole, b"ispe", size(">II", 32, 32), 4), 422
    yield "items-65535.heic", patched(whole, b"iinf", b"\xff\xff", 4), 422
    yield "places-65535.heic", patched(whole, b"iloc", b"\xff\xff", 6), 422
    yield "no-coding.heic", patched(whole, b"hvcC", bytes(60)), 422
    yield "parameters-65535.heic", patched(whole, b"hvcC", b"\xff" * 6, 22), 422
    yield "other-primary.heic", patched(whole, b"pitm", b"\0\x63", 4), 422
    for kind in (b"av01", b"avc1", b"jpeg", b"iovl", b"xxxx"):
        yield f"{kind.decode()}.heic", patched(whole, b"infe", kind, 8), 422
    noise = np.random.default_rng(6).bytes(400)
    yield "noise.heic", patched(whole, b"mdat", noise, 8), 422
    yield "tiles-65536.heic", _with_grid(grid, rows=255, columns=255), 422
    yield "tiles-too-few.heic", _with_grid(grid, rows=7, columns=7), 422
    yield "grid-of-itself.heic", patched(grid, b"dimg", b"\0\1\0\1\0\1"), 422
    many = struct.pack(">I4s", 8, b"free") * 1000
    yield "boxes-1000.heic", brand + many + whole[len(brand) :], 422
    film = struct.pack(">I4s", 20, b"ftyp") + b"hevc\0\0\0\0msf1"
    yield "film.heic", film + struct.pack(">I4s", 108, b"moov") + bytes(100), 422


def _with_grid(grid: bytes, rows: int, columns: int) -> bytes:
    """The grid with one more than so many rows and columns, and the same tiles."""
    at = grid.index(struct.pack(">BBBBHH", 0, 0, 1, 2, 96, 64))
    return grid[: at + 2] + bytes([rows, columns]) + grid[at + 4 :]


@cache
def cases() -> list[tuple[str, bytes | Callable[[], bytes], int]]:
    """All of them."""
    return [case for source in (heifs, tiffs, bmps, gifs, jxls) for case in source()]
