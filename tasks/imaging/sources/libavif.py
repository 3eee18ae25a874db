"""Decodes an AVIF with libavif's own interface, some rows at a time.

Pillow returns the whole picture, and holds it three times on the way; here only the decoder's
planes are held. The library is the one that Pillow brings. Called in the sandbox only.
"""

import ctypes
from collections.abc import Iterator
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint16, c_uint32, c_void_p

import numpy as np
from PIL import _avif

from tasks.imaging.geometry import Pixels

_OVERLAP_ROWS = 2
"""Rows above and below a strip, since rows of halved chroma are blended with their neighbours."""
_STRICT_PIXI, _STRICT_CLAP = 1, 2
_STRAY_PIXELS, _MAX_PIXELS = 2**20, 2**28
"""A small picture (up to the first) may be larger than its box says; it is scaled down, as other
readers do. libavif accepts no limit above the second."""
_RGB, _RGBA = 0, 1
_HDR = {16, 18}
"""Transfer functions: PQ and HLG."""


class Picture(ctypes.Structure):
    """The start of avifImage: planes, and what their values mean."""

    _fields_ = [
        *((name, c_uint32) for name in ("width", "height", "depth")),
        *((name, c_int) for name in ("format", "range", "chroma_position")),
        ("planes", c_void_p * 3),
        ("strides", c_uint32 * 3),
        ("owns_planes", c_int),
        ("alpha", c_void_p),
        ("alpha_stride", c_uint32),
        *((name, c_int) for name in ("owns_alpha", "premultiplied")),
        ("profile", c_void_p),
        ("profile_size", c_size_t),
        *((name, c_uint16) for name in ("primaries", "transfer", "matrix")),
    ]


class _Decoder(ctypes.Structure):
    """The start of avifDecoder; what follows is private to libavif."""

    _fields_ = [
        *((name, c_int) for name in ("codec", "threads", "source", "progressive", "incremental")),
        *((name, c_int) for name in ("ignores_exif", "ignores_xmp")),
        *((name, c_uint32) for name in ("max_pixels", "max_side", "max_images", "strictness")),
        ("image", POINTER(Picture)),
    ]


class _Rows(ctypes.Structure):
    """avifRGBImage, with room for what a later version may add."""

    _fields_ = [
        *((name, c_uint32) for name in ("width", "height", "depth")),
        *((name, c_int) for name in ("format", "upsampling", "downsampling", "avoids_libyuv")),
        *((name, c_int) for name in ("ignores_alpha", "premultiplied", "is_float", "threads")),
        ("pixels", c_void_p),
        ("stride", c_uint32),
        ("room", c_uint32 * 16),
    ]


class _Rectangle(ctypes.Structure):
    _fields_ = [(name, c_uint32) for name in ("x", "y", "width", "height")]


# Through Pillow's module, the symbols of the library that it is linked with are found.
_library = ctypes.CDLL(_avif.__file__)
_library.avifVersion.restype = c_char_p
_library.avifDecoderCreate.restype = POINTER(_Decoder)
_library.avifDecoderSetIOMemory.argtypes = (POINTER(_Decoder), c_char_p, c_size_t)
_library.avifImageCreateEmpty.restype = POINTER(Picture)
_library.avifImageSetViewRect.argtypes = (c_void_p, POINTER(Picture), POINTER(_Rectangle))
_library.avifImageDestroy.argtypes = (c_void_p,)
_library.avifRGBImageSetDefaults.argtypes = (POINTER(_Rows), c_void_p)
_library.avifImageYUVToRGB.argtypes = (c_void_p, POINTER(_Rows))

if not _library.avifVersion().startswith(
    b"1."
):  # within version 1, structures only grow at their ends
    raise ImportError(f"libavif 1 is needed, Pillow brings {_library.avifVersion().decode()}")


def strips(data: bytes, channels: int, max_pixels: int, rows: int) -> Iterator[Pixels]:
    """The first picture from top to bottom: rows x W x 3 RGB or x 4 RGBA, not upright yet; uint8,
    or uint16 where it is HDR.

    Raises ValueError for whatever libavif refuses, and for more than `max_pixels`.
    """
    image = _decode(data, max_pixels).contents
    for top in range(0, image.height, rows):
        yield rows_of(image, top, min(rows, image.height - top), channels)


def code_points(data: bytes) -> tuple[int, int]:
    """Primaries and transfer of ITU-T H.273, which may be in the coded data alone; no pixel is
    decoded. Raises ValueError as `strips` does."""
    image = _parsed(data, _MAX_PIXELS).contents.image.contents
    return image.primaries, image.transfer


def rows_of(image: Picture, top: int, rows: int, channels: int) -> Pixels:
    """Some rows of planes as RGB or RGBA; uint8, or uint16 where they are HDR: it takes three times
    as long, and other pictures do not show the difference."""
    start = max(0, top - _OVERLAP_ROWS)
    end = min(image.height, top + rows + _OVERLAP_ROWS)
    kind = np.uint16 if image.depth > 8 and image.transfer in _HDR else np.uint8
    pixels = np.empty((end - start, image.width, channels), kind)
    _convert(image, start, pixels)
    return pixels[top - start : top - start + rows]


def _decode(data: bytes, max_pixels: int) -> "ctypes._Pointer[Picture]":
    """The planes of the first picture. They are never freed: this process is a child that ends
    soon."""
    decoder = _parsed(data, max_pixels)
    _check(_library.avifDecoderNextImage(decoder))
    return decoder.contents.image  # type: ignore[no-any-return]


def _parsed(data: bytes, max_pixels: int) -> "ctypes._Pointer[_Decoder]":
    decoder = _library.avifDecoderCreate()
    decoder.contents.max_pixels = min(max(max_pixels, _STRAY_PIXELS), _MAX_PIXELS)
    # As Pillow does: older encoders leave these boxes out or write them wrong.
    decoder.contents.strictness &= ~(_STRICT_PIXI | _STRICT_CLAP)
    _check(_library.avifDecoderSetIOMemory(decoder, data, len(data)))
    _check(_library.avifDecoderParse(decoder))
    return decoder  # type: ignore[no-any-return]


def _convert(image: Picture, top: int, pixels: Pixels) -> None:
    """Fill `pixels` with the picture's rows from `top` on."""
    part, rows = _library.avifImageCreateEmpty(), _Rows()
    area = _Rectangle(0, top, pixels.shape[1], pixels.shape[0])
    _check(_library.avifImageSetViewRect(part, ctypes.byref(image), ctypes.byref(area)))
    _library.avifRGBImageSetDefaults(ctypes.byref(rows), part)
    rows.depth, rows.format = 8 * pixels.itemsize, _RGBA if pixels.shape[2] == 4 else _RGB
    rows.pixels, rows.stride = pixels.ctypes.data, pixels.strides[0]
    _check(_library.avifImageYUVToRGB(part, ctypes.byref(rows)))
    _library.avifImageDestroy(part)


def _check(result: int) -> None:
    if result:
        raise ValueError(f"libavif cannot decode it: result {result}")
