"""Pixels of a WebP by libwebp's own interface, which shrinks them as they are decoded.

Pillow and OpenCV call the same library without that option, and so hold a lossless picture twice at
its full size. The library is the one that Pillow brings. Called in the sandbox only.
"""

import ctypes
from ctypes import c_int, c_size_t, c_uint32, c_void_p

import numpy as np
from PIL import _webp

from tasks.imaging.geometry import Pixels

_ABI = 0x0209
"""Of the structures below; libwebp refuses another major (the upper byte)."""
_LOSSLESS = 2
_RGB, _RGBA = 0, 1


class _Features(ctypes.Structure):
    _fields_ = [
        *((name, c_int) for name in ("width", "height", "has_alpha", "is_animated", "format")),
        ("padding", c_uint32 * 5),
    ]


class _Packed(ctypes.Structure):
    _fields_ = [("pixels", c_void_p), ("stride", c_int), ("size", c_size_t)]


class _Planes(ctypes.Structure):
    _fields_ = [("planes", c_void_p * 4), ("strides", c_int * 4), ("sizes", c_size_t * 4)]


class _Memory(ctypes.Union):
    _fields_ = [("packed", _Packed), ("planes", _Planes)]


class _Output(ctypes.Structure):
    _fields_ = [
        *((name, c_int) for name in ("colours", "width", "height", "is_ours")),
        ("memory", _Memory),
        ("padding", c_uint32 * 4),
        ("its_own", c_void_p),
    ]


class _Options(ctypes.Structure):
    _fields_ = [
        *((name, c_int) for name in ("no_filter", "no_smooth_chroma", "crops")),
        *((name, c_int) for name in ("left", "top", "crop_width", "crop_height")),
        *((name, c_int) for name in ("scales", "width", "height", "threads")),
        *((name, c_int) for name in ("dither", "flip", "dither_alpha")),
        ("padding", c_uint32 * 5),
    ]


class _Config(ctypes.Structure):
    _fields_ = [("input", _Features), ("output", _Output), ("options", _Options)]


# The symbols of what Pillow's module is linked with can be found through it, wherever that lies.
_library = ctypes.CDLL(_webp.__file__)
_library.WebPGetFeaturesInternal.argtypes = (ctypes.c_char_p, c_size_t, c_void_p, c_int)
_library.WebPDecode.argtypes = (ctypes.c_char_p, c_size_t, c_void_p)


def decode(data: bytes, height: int, width: int) -> Pixels:
    """The picture as H x W x 3 RGB or H x W x 4 RGBA uint8, of the given size or of its own.

    Of its own where colours that lie hidden under transparent pixels would be averaged in: libwebp
    weighs by alpha in lossless pictures only. Raises ValueError for whatever libwebp refuses, an
    animation among it.
    """
    config = _Config()
    if not _library.WebPInitDecoderConfigInternal(ctypes.byref(config), _ABI):
        raise ValueError("libwebp's interface has changed")
    seen, size = config.input, len(data)
    _check(_library.WebPGetFeaturesInternal(data, size, ctypes.byref(seen), _ABI))
    if seen.has_alpha and seen.format != _LOSSLESS:
        height, width = seen.height, seen.width
    elif (height, width) != (seen.height, seen.width):
        options = config.options
        options.scales, options.height, options.width = 1, height, width
    pixels = np.zeros((height, width, 4 if seen.has_alpha else 3), np.uint8)
    config.output.colours = _RGBA if seen.has_alpha else _RGB
    config.output.is_ours = 1
    config.output.memory.packed = _Packed(pixels.ctypes.data, pixels.strides[0], pixels.nbytes)
    _check(_library.WebPDecode(data, size, ctypes.byref(config)))
    return pixels


def _check(status: int) -> None:
    if status:
        raise ValueError(f"libwebp refuses it: status {status}")
