"""Reads the rows of a TIFF with libtiff's own interface, from memory and a few at a time.

Pillow, which brings the library, holds the whole picture and makes 8 bits of 16. Called in the
sandbox only.
"""

import ctypes
from collections.abc import Iterator
from ctypes import (
    CFUNCTYPE,
    POINTER,
    byref,
    c_char_p,
    c_int,
    c_int64,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)  # fmt: skip
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import _imaging

_COLOUR_MAP, _JPEG_COLOURS, _AS_RGB = 320, 65538, 1

_Transfer = CFUNCTYPE(c_int64, c_void_p, c_void_p, c_int64)
_Seek = CFUNCTYPE(c_uint64, c_void_p, c_uint64, c_int)
_Close = CFUNCTYPE(c_int, c_void_p)
_Size = CFUNCTYPE(c_uint64, c_void_p)
_Map = CFUNCTYPE(c_int, c_void_p, POINTER(c_void_p), POINTER(c_uint64))
_Unmap = CFUNCTYPE(None, c_void_p, c_void_p, c_uint64)

# Through Pillow's module, the symbols of the library that it is linked with are found.
_library = ctypes.CDLL(_imaging.__file__)
_library.TIFFClientOpen.restype = c_void_p
_library.TIFFClientOpen.argtypes = (
    c_char_p, c_char_p, c_void_p, _Transfer, _Transfer, _Seek, _Close, _Size, _Map, _Unmap,
)  # fmt: skip
_library.TIFFReadScanline.argtypes = (c_void_p, c_void_p, c_uint32, c_uint16)
_library.TIFFScanlineSize64.argtypes = (c_void_p,)
_library.TIFFScanlineSize64.restype = c_uint64
_library.TIFFTileSize64.argtypes = (c_void_p,)
_library.TIFFTileSize64.restype = c_uint64
_library.TIFFReadTile.argtypes = (c_void_p, c_void_p, c_uint32, c_uint32, c_uint32, c_uint16)
_library.TIFFReadTile.restype = c_int64
_library.TIFFSetField.argtypes = _library.TIFFGetField.argtypes = (c_void_p, c_uint32)
_library.TIFFSetErrorHandler(None)
_library.TIFFSetWarningHandler(None)

_closed = _Close(lambda handle: 0)
_unmapped = _Unmap(lambda handle, base, size: None)
_nothing_written = _Transfer(lambda handle, buffer, size: 0)

Rows = NDArray[np.uint8]
"""Rows of packed bytes, as the file's tags describe them."""


class Tiff:
    """The first page of a TIFF in memory."""

    def __init__(self, data: bytes, *, as_rgb: bool) -> None:
        """`as_rgb`: it is a JPEG in YCbCr inside, to be read as RGB. Raises ValueError."""
        self._data, self._position = data, 0
        self._calls = _Transfer(self._read), _Seek(self._seek), _Size(self._size), _Map(self._map)
        read, seek, size, mapped = self._calls
        handle = _library.TIFFClientOpen(
            b"", b"r", None, read, _nothing_written, seek, _closed, size, mapped, _unmapped
        )
        if not handle:
            raise ValueError("libtiff cannot open it")
        self._handle = c_void_p(handle)
        if as_rgb:
            _library.TIFFSetField(self._handle, _JPEG_COLOURS, c_int(_AS_RGB))

    def rows(self, height: int, at_once: int, channel: int = 0) -> Iterator[Rows]:
        """All rows in order; of one channel if each is stored by itself."""
        size = _library.TIFFScanlineSize64(self._handle)
        for top in range(0, height, at_once):
            rows = np.empty((min(at_once, height - top), size), np.uint8)
            for i, row in enumerate(rows, top):
                _check(_library.TIFFReadScanline(self._handle, row.ctypes.data, i, channel))
            yield rows

    def tile(self, top: int, left: int, channel: int = 0) -> Rows:
        """One tile, as a single row of bytes."""
        size = _library.TIFFTileSize64(self._handle)
        tile = np.empty((1, size), np.uint8)
        _check(_library.TIFFReadTile(self._handle, tile.ctypes.data, left, top, 0, channel))
        return tile

    def colour_map(self, count: int) -> NDArray[np.uint16]:
        """count x 3 of the palette."""
        channels = [POINTER(c_uint16)() for _ in range(3)]
        if not _library.TIFFGetField(self._handle, _COLOUR_MAP, *(byref(c) for c in channels)):
            raise ValueError("there is no palette")
        # NumPy's ctypeslib would do this, but is loaded when it is first used: here, it cannot be.
        return np.stack([np.array(c[:count], np.uint16) for c in channels], 1)

    # What libtiff asks for. It reads the first bytes by `_read`, the rest where `_map` says.

    def _read(self, handle: int, buffer: int, size: int) -> int:
        part = self._data[self._position : self._position + size]
        ctypes.memmove(buffer, part, len(part))
        self._position += len(part)
        return len(part)

    def _seek(self, handle: int, offset: int, whence: int) -> int:
        start = (0, self._position, len(self._data))[whence]
        self._position = min(start + offset, len(self._data))
        return self._position

    def _size(self, handle: int) -> int:
        return len(self._data)

    def _map(self, handle: int, base: Any, size: Any) -> int:
        base[0], size[0] = ctypes.cast(c_char_p(self._data), c_void_p).value, len(self._data)
        return 1


def _check(result: int) -> None:
    if result < 0:
        raise ValueError("libtiff cannot decode it")
