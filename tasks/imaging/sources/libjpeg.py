"""Decodes a JPEG with libjpeg-turbo's own interface, straight into memory that is there already.

OpenCV calls the same library, but makes the picture in new memory and copies it to more of that.
The library is the one that Pillow brings. Called in a confined process only: an error inside it
cannot be raised, so it ends the process.
"""

import ctypes
from ctypes import (
    CFUNCTYPE,
    byref,
    c_char,
    c_char_p,
    c_double,
    c_int,
    c_long,
    c_size_t,
    c_uint,
    c_ulong,
    c_void_p,
)
from typing import Any

import numpy as np
from PIL import _imaging

from tasks.imaging import confinement
from tasks.imaging.geometry import Pixels

_VERSION, _SIZE = 62, 632
"""Of the interface, and of the structure `jpeg_decompress_struct` in it."""
_RGB = 6
"""JCS_EXT_RGB."""
_CHANNELS = 3

_Handler = CFUNCTYPE(None, c_void_p)


class _Errors(ctypes.Structure):
    """jpeg_error_mgr."""

    _fields_ = [
        ("error_exit", c_void_p), ("others", c_void_p * 4), ("code", c_int),
        ("parameters", c_char * 80), ("trace_level", c_int), ("warnings", c_long),
        ("tables", c_char * 40),
    ]  # fmt: skip


class _Decoder(ctypes.Structure):
    """jpeg_decompress_struct, as far as its fields are used, with room for any other version's."""

    _fields_ = [
        *((name, c_void_p) for name in ("errors", "memory", "progress", "ours")),
        ("is_decoder", c_int), ("state", c_int), ("source", c_void_p),
        ("width", c_uint), ("height", c_uint), ("channels", c_int),
        ("stored_colours", c_int), ("colours", c_int), ("scale", c_uint * 2), ("gamma", c_double),
        ("options", c_int * 12), ("out_width", c_uint), ("out_height", c_uint),
        ("rest", c_char * 2000),
    ]  # fmt: skip


# Through Pillow's module, the symbols of the library that it is linked with are found.
_library = ctypes.CDLL(_imaging.__file__)
_library.jpeg_std_error.argtypes = (c_void_p,)
_library.jpeg_std_error.restype = c_void_p
_library.jpeg_CreateDecompress.argtypes = (c_void_p, c_int, c_size_t)
_library.jpeg_mem_src.argtypes = (c_void_p, c_char_p, c_ulong)
_library.jpeg_read_header.argtypes = (c_void_p, c_int)
_library.jpeg_read_scanlines.argtypes = (c_void_p, c_void_p, c_uint)
for _name in ("start_decompress", "destroy_decompress"):
    getattr(_library, f"jpeg_{_name}").argtypes = (c_void_p,)


def decode(data: bytes, memory: Pixels, height: int, width: int) -> Pixels | None:
    """H x W x 3 RGB at the start of `memory`; None where another decoder has to say what it is: the
    file is damaged, or has another size or other colours than YCbCr and RGB, or this process is not
    confined. What the file says behind the last row does not count."""
    if not (is_known and confinement.is_confined() and memory.size >= height * width * _CHANNELS):
        return None
    errors, decoder = _Errors(), _Decoder()
    _begin(decoder, errors, _fatal)
    _library.jpeg_mem_src(byref(decoder), data, len(data))
    _library.jpeg_read_header(byref(decoder), 1)
    if (decoder.height, decoder.width, decoder.channels) != (height, width, _CHANNELS):
        return None
    pixels = memory[: height * width * _CHANNELS].reshape(height, width, _CHANNELS)
    decoder.colours = _RGB
    _library.jpeg_start_decompress(byref(decoder))
    if (decoder.out_height, decoder.out_width) != (height, width):
        return None
    _read(decoder, pixels)
    _library.jpeg_destroy_decompress(byref(decoder))
    return None if errors.warnings else pixels


def _read(decoder: _Decoder, pixels: Pixels) -> None:
    """All rows; a call reads one or two."""
    rows = pixels.ctypes.data + pixels.strides[0] * np.arange(len(pixels), dtype=np.uintp)
    first, here, at = rows.ctypes.data, ctypes.addressof(decoder), 0
    while at < len(rows):
        at += _library.jpeg_read_scanlines(here, first + rows.itemsize * at, len(rows) - at)


def _begin(decoder: _Decoder, errors: _Errors, fatal: Any) -> None:
    decoder.errors = _library.jpeg_std_error(byref(errors))
    errors.error_exit = ctypes.cast(fatal, c_void_p)
    _library.jpeg_CreateDecompress(byref(decoder), _VERSION, _SIZE)


def _is_known() -> bool:
    """Whether the library has this interface: what it says of a structure of another size may be
    passed over."""
    found: list[int] = []
    refused = _Handler(found.append)
    decoder = _Decoder()
    _begin(decoder, _Errors(), refused)
    _library.jpeg_destroy_decompress(byref(decoder))
    return not found


_fatal = _Handler(lambda decoder: confinement.fail("libjpeg cannot decode it"))
is_known = _is_known()
