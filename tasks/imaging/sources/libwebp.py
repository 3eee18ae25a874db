"""Decodes a WebP with libwebp's own interface, which can shrink the picture meanwhile.

Pillow and OpenCV call the same library without that option, so they hold a lossless picture twice
at its full size. The library is the one that Pillow brings. Called in the sandbox only.
"""

import ctypes
from ctypes import c_int, c_size_t, c_uint32, c_void_p

import numpy as np
from PIL import _webp

from tasks.imaging.geometry import Pixels

_ABI = 0x0209
"""Version of the structures below; libwebp refuses another major version (the upper byte)."""
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


# Through Pillow's module, the symbols of the library that it is linked with are found.
_library = ctypes.CDLL(_webp.__file__)
_library.WebPGetFeaturesInternal.argtypes = (ctypes.c_char_p, c_size_t, c_void_p, c_int)
_library.WebPDecode.argtypes = (ctypes.c_char_p, c_size_t, c_void_p)


def decode(data: bytes, height: int, width: int) -> Pixels:
    """The picture as H x W x 3 RGB or H x W x 4 RGBA uint8, with the given size or its own.

    Its own if colours hidden under transparent pixels would be averaged in otherwise: libwebp
    weights by alpha in lossless pictures only. Raises ValueError for whatever libwebp refuses,
    animations included.
    """
    config = _Config()
    if not _library.WebPInitDecoderConfigInternal(ctypes.byref(config), _ABI):
        raise ValueError("libwebp's interface has changed")
    features, size = config.input, len(data)
    _check(_library.WebPGetFeaturesInternal(data, size, ctypes.byref(features), _ABI))
    if features.has_alpha and features.format != _LOSSLESS:
        height, width = features.height, features.width
    elif (height, width) != (features.height, features.width):
        options = config.options
        options.scales, options.height, options.width = 1, height, width
    pixels = np.zeros((height, width, 4 if features.has_alpha else 3), np.uint8)
    config.output.colours = _RGBA if features.has_alpha else _RGB
    config.output.is_ours = 1
    config.output.memory.packed = _Packed(pixels.ctypes.data, pixels.strides[0], pixels.nbytes)
    _check(_library.WebPDecode(data, size, ctypes.byref(config)))
    return pixels


def _check(status: int) -> None:
    if status:
        raise ValueError(f"libwebp cannot decode it: status {status}")
