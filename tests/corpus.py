"""Makes the files that a hostile or unlucky user sends, each with the status it must be answered.

Deterministic and in memory: `files()` maps a name (with the ending the user gave it) to a File.
`python tests/corpus.py FOLDER` writes them out. The bombs are built from small parts, so that
making them costs nothing; only what reads them could be made to pay.
"""

import io
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import corpus_formats
import numpy as np
from PIL import Image

MIB = 2**20
PNG = b"\x89PNG\r\n\x1a\n"
ZEROS = bytes(MIB)


Content = bytes | Callable[[], bytes]
"""Bytes, or what makes them when they are read for the first time: names alone cost little."""


@dataclass(frozen=True)
class File:
    """One file, and how it must be answered."""

    content: Content
    status: int
    """200: must be read; 413, 415, 422: must be refused so."""

    @property
    def is_slow_to_make(self) -> bool:
        """Whether making its bytes takes a noticeable time; all such files are large."""
        return not isinstance(self.content, bytes)

    @cached_property
    def data(self) -> bytes:
        """All its bytes."""
        return self.content if isinstance(self.content, bytes) else self.content()


@cache
def files() -> dict[str, File]:
    """Every file by name."""
    made: dict[str, File] = {}
    for source in (good, other_types, sizes, truncated, jpegs, pngs, webps, avifs, polyglots):
        for name, content, status in source():
            assert name not in made, name
            made[name] = File(content, status)
    for name, content, status in corpus_formats.cases():
        assert name not in made, name
        made[name] = File(content, status)
    return made


Cases = Iterator[tuple[str, Content, int]]


# Parts


def photo(width: int = 96, height: int = 64, mode: str = "RGB") -> Image.Image:
    """A picture with slopes and noise; its alpha is a ramp."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(7).integers(0, 40, (height, width))
    channels = [x * 200 // width + noise, y * 200 // height + noise, (x + y) % 200 + noise]
    rgba = np.dstack([*channels, 255 * x // width]).astype(np.uint8)
    return Image.fromarray(rgba).convert(mode)


def flat(mode: str, kind: str, **options: Any) -> bytes:
    """A picture of 64 megapixels and one colour."""
    picture = Image.new("RGBA", (8000, 8000), (10, 200, 90, 128))
    return save(picture if mode == "RGBA" else picture.convert(mode), kind, **options)


def save(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def ihdr(width: int, height: int, bits: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace))


def png(header: bytes, pixels: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG of parts; `pixels` is the body of its one IDAT."""
    return PNG + header + before + chunk(b"IDAT", pixels) + after + chunk(b"IEND", b"")


def bomb(mebibytes: int) -> bytes:
    """A zlib stream of zeros: a thousandth of what it inflates to, made without deflating it."""
    packer = zlib.compressobj(9)
    start = packer.compress(ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    middle = packer.compress(ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + middle * (mebibytes - 1) + packer.flush()


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def after_start(jpeg: bytes, *parts: bytes) -> bytes:
    """The JPEG with segments put in right behind its first marker."""
    return jpeg[:2] + b"".join(parts) + jpeg[2:]


def patched(data: bytes, position: int, new: bytes) -> bytes:
    return data[:position] + new + data[position + len(new) :]


def resized_jpeg(jpeg: bytes, width: int, height: int) -> bytes:
    """The same pixels under another size."""
    frame = max(jpeg.find(b"\xff\xc0\x00"), jpeg.find(b"\xff\xc2\x00"))
    return patched(jpeg, frame + 5, struct.pack(">HH", height, width))


def repeated_scan(jpeg: bytes, times: int) -> bytes:
    """The JPEG with its last scan again and again."""
    last = jpeg.rfind(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * times + jpeg[-2:]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", bytes([flags, 0, 0, 0]) + size


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """A TIFF of (tag, type, count, four bytes)."""
    packed = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    body = struct.pack("<H", len(entries)) + packed + struct.pack("<I", 8)  # next: itself
    return b"II*\0\x08\0\0\0" + body + struct.pack("<d", float("nan")) * 8


NAN_EXIF = exif((0x0112, 3, 1, b"\1\0\0\0"), (0x011A, 12, 1, struct.pack("<I", 38)))
BAD_TURN = exif((0x0112, 3, 1, b"\xff\xff\0\0"))


# Families


def good() -> Cases:
    """Odd but whole: must be read."""
    jpeg, turned = save(photo(), "JPEG"), Image.Exif()
    turned[0x0112] = 6
    yield "plain.jpg", jpeg, 200
    yield "grey.jpg", save(photo(mode="L"), "JPEG"), 200
    yield "progressive.jpg", save(photo(), "JPEG", progressive=True), 200
    yield "cmyk.jpg", save(photo(mode="CMYK"), "JPEG"), 200
    yield "turned.jpg", save(photo(), "JPEG", exif=turned), 200
    two = {"save_all": True, "append_images": [photo(mode="L").convert("RGB")]}
    yield "two-pictures.jpg", save(photo(), "MPO", **two), 200
    yield "restarts.jpg", save(photo(), "JPEG", restart_marker_blocks=1), 200
    yield "comment.jpg", save(photo(), "JPEG", comment=b"<?php phpinfo(); ?>"), 200
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield f"mode-{mode}.png", save(photo(mode=mode), "PNG"), 200
    for mode in ("L", "RGB", "RGBA"):
        yield f"mode-{mode}.webp", save(photo(mode=mode), "WEBP", method=0), 200
        yield f"mode-{mode}.avif", save(photo(mode=mode), "AVIF", speed=10), 200
    yield "lossless.webp", save(photo(mode="RGBA"), "WEBP", lossless=True, method=0), 200
    frames = [photo(mode=mode).convert("RGB") for mode in ("RGB", "L", "1")]
    for ending, kind in (("webp", "WEBP"), ("avif", "AVIF"), ("png", "PNG")):
        moving = save(frames[0], kind, save_all=True, append_images=frames[1:])
        yield f"animated.{ending}", moving, 200
    rows = b"\0" + bytes(range(192))
    yield "grey16.png", png(ihdr(96, 32, 16, 0), zlib.compress(rows * 32)), 200
    yield "rgb16.png", png(ihdr(32, 32, 16, 2), zlib.compress(rows * 32)), 200
    yield "rgba16.png", png(ihdr(24, 32, 16, 6), zlib.compress(rows * 32)), 200
    yield "wrong-ending.gif", jpeg, 200
    yield "wrong-ending.jpg", save(photo(), "PNG"), 200
    yield "no-ending", save(photo(), "WEBP"), 200


def other_types() -> Cases:
    """Not a picture, or a kind that is not accepted."""
    yield "empty.jpg", b"", 422
    yield "one-byte.jpg", b"\xff", 415
    yield "noise.bin", np.random.default_rng(1).bytes(5000), 415
    yield "text.txt", b"hello\n" * 100, 415
    for name, kind in (("gif", "GIF"), ("tif", "TIFF"), ("bmp", "BMP")):
        yield f"picture.{name}", save(photo(), kind), 200
    yield "picture.ico", save(photo(), "ICO"), 415
    yield "picture.ppm", save(photo(), "PPM"), 415
    yield "picture.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), 415
    yield "zeros.tif", b"MM\0*" + bytes(100), 422
    yield "zeros.jxl", b"\xff\x0a" + bytes(100), 422
    yield "zeros-in-a-box.jxl", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100), 422
    for name, start in (("orf", b"IIRO"), ("rw2", b"IIU\0"), ("cr2", b"II*\0\x10\0\0\0CR\2\0")):
        yield f"raw.{name}", start + bytes(100), 415
    yield "drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415
    entity = b"<?xml version='1.0'?><!DOCTYPE s [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><s/>"
    yield "entity.svg", entity, 415
    yield "page.html", b"<!doctype html><script>alert(1)</script>", 415
    yield "paper.pdf", b"%PDF-1.7\n" + bytes(100), 415
    yield "layers.psd", b"8BPS\0\1" + bytes(100), 415
    yield "sound.wav", b"RIFF\x24\0\0\0WAVEfmt " + bytes(100), 415
    yield "archive.zip", b"PK\3\4" + bytes(100), 415
    for brand in (b"heic", b"heix", b"mif1", b"hevc"):
        heic = box(b"ftyp", brand + bytes(4) + b"mif1" + brand)
        yield f"{brand.decode()}.heic", heic + bytes(100), 422
    yield "film.mp4", box(b"ftyp", b"isom" + bytes(4) + b"mp41") + bytes(100), 415
    yield "too-large.jpg", save(photo(), "JPEG") + bytes(26 * MIB), 413
    yield "too-large.bin", bytes(26 * MIB), 413


def sizes() -> Cases:
    """At the limits, beyond them, and lying about it."""
    for width, height, status in (
        *((16, 16, 200), (15, 16, 422), (1, 1, 422), (640, 16, 200), (641, 16, 422)),
        *((1, 65535, 422), (65535, 1, 422), (16, 30_000, 422), (16_385, 500, 422)),
    ):
        picture = Image.new("L", (width, height), 90)
        yield f"{width}x{height}.png", save(picture, "PNG"), status
        if max(width, height) < 16_384:
            yield f"{width}x{height}.webp", save(picture, "WEBP", method=0), status
            yield f"{width}x{height}.jpg", save(picture, "JPEG"), status
    bits = zlib.compress(bytes(6251) * 1000)
    yield "1-bit-50000x50000.png", png(ihdr(50_000, 50_000, 1, 0), bits), 422
    yield "8001x8001.png", png(ihdr(8001, 8001), bomb(1)), 422
    yield "2147483647.png", png(ihdr(2**31 - 1, 2**31 - 1), bomb(1)), 422
    yield "64-megapixels.png", partial(flat, "RGBA", "PNG", compress_level=1), 200
    lossless = partial(flat, "RGBA", "WEBP", lossless=True, quality=0, method=0)
    yield "64-megapixels.webp", lossless, 200
    yield "64-megapixels-lossy.webp", partial(flat, "RGBA", "WEBP", quality=0, method=0), 200
    yield "64-megapixels.jpg", partial(flat, "RGB", "JPEG"), 200
    yield "64-megapixels-progressive.jpg", partial(flat, "RGB", "JPEG", progressive=True), 200
    jpeg = save(photo(), "JPEG")
    for name, width, height, status in (
        *(("says-more", 9000, 5500, 422), ("says-too-much", 60_000, 60_000, 422)),
        *(("says-nothing", 0, 0, 422), ("says-no-height", 96, 0, 422)),
    ):
        yield f"{name}.jpg", resized_jpeg(jpeg, width, height), status
        short = png(ihdr(width, height), zlib.compress(bytes(20_000)))
        yield f"{name}.png", short, 422
    yield "says-less.jpg", resized_jpeg(jpeg, 32, 32), 200  # libjpeg reads what it needs
    yield "says-less.png", png(ihdr(32, 32), zlib.compress(bytes(97 * 64 * 3))), 200


def truncated() -> Cases:
    """Cut at every eighth."""
    for name, kind, options in (
        ("baseline.jpg", "JPEG", {}),
        ("progressive.jpg", "JPEG", {"progressive": True}),
        ("plain.png", "PNG", {}),
        ("lossy.webp", "WEBP", {}),
        ("lossless.webp", "WEBP", {"lossless": True}),
        ("plain.avif", "AVIF", {"speed": 10}),
    ):
        whole = save(photo(192, 128), kind, **options)
        for eighth in range(1, 8):
            # From its half on, this progressive JPEG shows all of its picture, a little blurred.
            status = 200 if name == "progressive.jpg" and eighth >= 4 else 422
            yield f"cut-{eighth}-{name}", whole[: len(whole) * eighth // 8], status


def jpegs() -> Cases:
    plain, waves = save(photo(), "JPEG"), save(photo(), "JPEG", progressive=True)
    frame, wide = plain.find(b"\xff\xc0"), resized_jpeg(waves, 9000, 5500)
    inks = save(photo(mode="CMYK"), "JPEG", progressive=True)
    yield "progressive-inks.jpg", inks, 200
    yield "progressive-inks-of-49-megapixels.jpg", resized_jpeg(inks, 9000, 5500), 422
    yield "scans-90.jpg", repeated_scan(waves, 80), 200
    for count in (101, 1000, 10_000):
        yield f"scans-{count}.jpg", repeated_scan(waves, count), 422
        yield f"scans-{count}-of-49-megapixels.jpg", repeated_scan(wide, count), 422
    far = waves[:-2] + segment(0xFE, bytes(60_000)) * 2
    yield "scans-far-behind-a-comment.jpg", far + repeated_scan(waves, 101)[len(waves) - 2 :], 422
    scan = plain[plain.find(b"\xff\xda") : -2]
    yield "second-baseline-scan.jpg", plain[:-2] + scan * 200 + plain[-2:], 200
    start = plain.find(b"\xff\xda")
    one_channel = b"\xff\xda\0\x08\1\1\0\0\x3f\0" + plain[start + 14 : -2]
    yield "channel-scans-500.jpg", plain[:start] + one_channel * 500 + plain[-2:], 422
    for marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF):
        # Codes of Huffman read as arithmetic ones are noise, but no error.
        status = 200 if marker == 0xC9 else 422
        yield f"sof-{marker - 0xC0}.jpg", patched(plain, frame + 1, bytes([marker])), status
    yield "12-bit.jpg", patched(plain, frame + 4, b"\x0c"), 422
    yield "2-channels.jpg", patched(plain, frame + 9, b"\2"), 422
    yield "short-frame.jpg", patched(plain, frame + 2, b"\0\7"), 422
    yield "two-frames.jpg", after_start(plain, plain[frame : frame + 19]), 422
    yield "scan-first.jpg", plain[:2] + plain[start:], 422
    yield "no-scan.jpg", plain[:start] + b"\xff\xd9", 422
    yield "only-start.jpg", b"\xff\xd8\xff\xd9", 422
    yield "markers-only.jpg", b"\xff\xd8" + b"\xff" * 100_000, 422
    yield "garbage.jpg", plain[:20] + bytes(5000) + plain[20:], 422
    yield "a-little-garbage.jpg", plain[:20] + bytes(50) + plain[20:], 200
    yield "no-huffman.jpg", plain.replace(b"\xff\xc4", b"\xff\xee"), 200  # the usual tables
    yield "filling.jpg", after_start(plain, (b"\xff" * 4000 + segment(0xFE, b"")) * 1000), 422
    empty = segment(0xFE, b"") * 1_000_000
    yield "comments-behind-scans.jpg", waves[:-2] + empty + waves[-2:], 200
    yield "comments-behind-many-scans.jpg", repeated_scan(waves, 101)[:-2] + empty, 422
    yield "comments-40000.jpg", after_start(plain, segment(0xFE, b"x") * 40_000), 422
    yield "metadata-5-mib.jpg", after_start(plain, segment(0xE1, bytes(65_000)) * 80), 200
    yield "profile-5-mib.jpg", after_start(plain, segment(0xE2, bytes(65_000)) * 80), 200
    for name, body in (("nan", NAN_EXIF), ("turn", BAD_TURN), ("cut", NAN_EXIF[:14])):
        yield f"exif-{name}.jpg", after_start(plain, segment(0xE1, b"Exif\0\0" + body)), 200
    yield "exif-noise.jpg", after_start(plain, segment(0xE1, b"Exif\0\0" + ZEROS[:999])), 200
    profile = b"ICC_PROFILE\0\1\1" + bytes(16) + b"CMYK" + bytes(500)
    cmyk = save(photo(mode="CMYK"), "JPEG")
    yield "bad-profile.jpg", after_start(cmyk, segment(0xE2, profile)), 200


def pngs() -> Cases:
    header, pixels = ihdr(64, 64), zlib.compress((b"\0" + b"\x80\x40\x20" * 64) * 64)
    whole = png(header, pixels)
    yield "idat-bomb.png", png(header, bomb(1024)), 422
    yield "idat-bomb-of-49-megapixels.png", png(ihdr(9000, 5500), bomb(8192)), 200
    yield "text-bomb.png", png(header, pixels, chunk(b"zTXt", b"k\0\0" + bomb(512))), 200
    yield "itxt-bomb.png", png(header, pixels, chunk(b"iTXt", b"k\0\1\0\0\0" + bomb(64))), 200
    yield "profile-bomb.png", png(header, pixels, chunk(b"iCCP", b"p\0\0" + bomb(512))), 200
    small = chunk(b"iCCP", b"p\0\0" + bomb(48))
    yield "small-profile-bomb.png", png(header, pixels, small), 200
    many = chunk(b"zTXt", b"k\0\0" + bomb(1))
    yield "text-1000.png", png(header, pixels, many * 1000), 200
    yield "text-10000.png", png(header, pixels, many * 10_000), 200
    yield "empty-idat-40000.png", png(header, pixels, b"", chunk(b"IDAT", b"") * 40_000), 422
    yield "text-5-mib.png", png(header, pixels, chunk(b"tEXt", b"k\0" + bytes(5 * MIB))), 200
    yield "exif-nan.png", png(header, pixels, chunk(b"eXIf", NAN_EXIF)), 200
    yield "exif-noise.png", png(header, pixels, chunk(b"eXIf", bytes(99))), 200
    yield "two-headers.png", png(header, pixels, ihdr(9000, 9000)), 422
    yield "no-header.png", PNG + chunk(b"IDAT", pixels) + chunk(b"IEND", b""), 422
    yield "no-pixels.png", PNG + header + chunk(b"IEND", b""), 422
    yield "no-end.png", whole[:-12], 200
    yield "half-an-end.png", whole[:-6], 200
    yield "no-palette.png", png(ihdr(64, 64, 8, 3), pixels), 422
    yield "not-deflate.png", png(header, b"\0" * 2000), 422
    yield "filter-9.png", png(header, zlib.compress((b"\x09" + bytes(192)) * 64)), 422
    yield "wrong-checksum.png", patched(whole, 29, b"\0\0\0\0"), 422
    yield "endless-chunk.png", patched(whole, 33, b"\xff\xff\xff\xff"), 422
    for bits, colour in ((3, 0), (16, 3), (4, 2), (8, 1), (8, 7)):
        yield f"{bits}-bits-of-{colour}.png", png(ihdr(64, 64, bits, colour), pixels), 422
    yield "interlace-9.png", png(ihdr(64, 64, interlace=9), pixels), 422
    yield "key-too-long.png", png(header, pixels, chunk(b"tRNS", bytes(300))), 200
    control = chunk(b"acTL", struct.pack(">II", 1, 0))
    frame = struct.pack(">IIIIIHHBB", 0, 30_000, 30_000, 0, 0, 1, 1, 0, 0)
    wide = control + chunk(b"fcTL", frame)
    yield "wide-frame.png", png(header, pixels, wide, chunk(b"fdAT", bomb(64))), 200
    yield "only-signature.png", PNG, 422


def webps() -> Cases:
    lossy = save(photo(), "WEBP", method=0)
    image = (b"VP8 ", lossy[20:])
    yield "extended.webp", riff(canvas(96, 64), image), 200
    yield "canvas-lies-up.webp", riff(canvas(9000, 5500), image), 422
    yield "canvas-lies-down.webp", riff(canvas(20, 20), image), 422
    yield "canvas-16-million.webp", riff(canvas(2**24, 2**24), image), 422
    yield "frame-16383.webp", patched(lossy, 26, b"\xff\x3f\xff\x3f"), 422
    yield "frame-says-more.webp", patched(lossy, 26, struct.pack("<HH", 9000, 5500)), 422
    yield "no-frame.webp", riff(canvas(96, 64)), 422
    yield "no-chunks.webp", riff(), 422
    yield "short-frame.webp", riff((b"VP8 ", b"abc")), 422
    yield "no-key-frame.webp", patched(lossy, 23, b"\0\0\0"), 422
    yield "not-lossless.webp", riff((b"VP8L", b"\x2e" + bytes(40))), 422
    yield "noise.webp", riff((b"VP8L", b"\x2f" + b"\x5f\xc0\x17\0" * 50)), 422
    yield "riff-lies.webp", patched(lossy, 4, b"\xff\xff\xff\xff"), 422
    yield "chunk-lies.webp", patched(lossy, 16, b"\xff\xff\xff\x7f"), 422
    yield "chunks-40000.webp", riff(canvas(96, 64), *[(b"JUNK", b"")] * 40_000, image), 422
    yield "xmp-5-mib.webp", riff(canvas(96, 64, 4), image, (b"XMP ", bytes(5 * MIB))), 200
    yield "exif-nan.webp", riff(canvas(96, 64, 8), image, (b"EXIF", NAN_EXIF)), 200
    yield "exif-noise.webp", riff(canvas(96, 64, 8), image, (b"EXIF", bytes(99))), 200
    place = bytes(6) + canvas(30_000, 30_000)[1][4:] + bytes(4)
    frame = (b"ANMF", place + b"VP8 " + struct.pack("<I", len(image[1])) + image[1])
    yield "wide-frame.webp", riff(canvas(96, 64, 2), (b"ANIM", bytes(6)), frame), 422


def avifs() -> Cases:
    whole = save(photo(), "AVIF", speed=10)
    size = whole.find(b"ispe") + 8
    brand = box(b"ftyp", b"avif" + bytes(4) + b"avifmif1")
    # libavif stretches the picture to the size that the box states
    yield "says-more.avif", patched(whole, size, struct.pack(">II", 9000, 5500)), 200
    clear = save(photo(mode="RGBA"), "AVIF", speed=10, subsampling="4:4:4")
    wide = patched(clear, clear.find(b"ispe") + 8, struct.pack(">II", 9000, 5500))
    yield "says-more-in-four-channels.avif", wide, 200
    yield "says-too-much.avif", patched(whole, size, struct.pack(">II", 2**31, 2**31)), 422
    yield "says-nothing.avif", patched(whole, size, bytes(8)), 422
    yield "says-less.avif", patched(whole, size, struct.pack(">II", 32, 32)), 200
    yield "only-brand.avif", brand, 422
    yield "no-size.avif", brand + box(b"meta", bytes(60)), 422
    yield "only-size.avif", brand + box(b"meta", b"ispe" + bytes(4) + b"\0\0\0\x40" * 2), 422
    yield "box-too-long.avif", brand + struct.pack(">I4s", 2**31, b"meta") + bytes(50), 422
    yield "box-too-short.avif", brand + struct.pack(">I4s", 3, b"meta") + bytes(50), 422
    yield "box-64-bit.avif", brand + struct.pack(">I4sQ", 1, b"meta", 2**63), 422
    yield "boxes-1000.avif", brand + box(b"free", b"") * 1000 + whole, 422
    yield "sizes-40000.avif", brand + box(b"meta", (b"ispe" + bytes(12)) * 40_000), 422
    yield "meta-5-mib.avif", brand + box(b"meta", whole[size - 8 :] + bytes(5 * MIB)), 422
    noise = np.random.default_rng(3).bytes(400)
    yield "noise.avif", patched(whole, whole.find(b"mdat") + 4, noise), 422
    yield "no-data.avif", whole[: whole.find(b"mdat") - 4] + box(b"mdat", b""), 422


def polyglots() -> Cases:
    """Two files in one: what counts is what the first bytes say, and only that is read."""
    jpeg, picture = save(photo(), "JPEG"), save(photo(), "PNG")
    script = b"<script>alert(1)</script>"
    yield "jpeg-and-zip.jpg", jpeg + b"PK\3\4" + bytes(2000), 200
    yield "jpeg-and-html.jpg", after_start(jpeg, segment(0xFE, script)), 200
    yield "jpeg-and-scans.jpg", jpeg + b"\xff\xda" * 10_000, 200
    waves = save(photo(), "JPEG", progressive=True)
    yield "progressive-and-film.jpg", waves + b"\xff\xda\0\x08" * 10_000, 200
    yield "jpeg-and-jpeg.jpg", jpeg + save(photo(1000, 750, "L").resize((4000, 3000)), "JPEG"), 200
    yield "png-and-php.png", picture + b"<?php phpinfo(); ?>", 200
    yield "png-and-jpeg.png", picture + jpeg, 200
    yield "gif-and-jpeg.jpg", b"GIF89a" + jpeg, 422
    yield "text-and-jpeg.jpg", b"x" + jpeg, 415
    yield "webp-and-zip.webp", save(photo(), "WEBP") + b"PK\3\4" + bytes(2000), 200


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for file_name, file in files().items():
        (folder / file_name).write_bytes(file.data)
