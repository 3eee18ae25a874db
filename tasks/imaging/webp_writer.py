"""Writes a lossy WebP strip by strip, with libwebp's own interface.

Pillow holds a picture four times while it is encoded. Here only the planes are held that libwebp
encodes, one and a half bytes a pixel, and alpha in a compact form (webp_alpha.py). The library is
the one that Pillow brings.
"""

import ctypes
import struct
from ctypes import POINTER, c_float, c_int, c_size_t, c_uint32, c_void_p
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import _webp

from tasks.imaging.geometry import Pixels
from tasks.imaging.parts import busy
from tasks.imaging.webp_alpha import AlphaWriter

_ABI = 0x0210
"""Version of the structures below; libwebp refuses another major version (the upper byte)."""
_QUALITY, _METHOD, _ADAPTS = 88.99, 0, 75
"""Of libwebp: half the time of quality 90 by method 2 and 14 % more bytes, with the same SSIM and
0.3 dB more. From 89 on, method 0 divides every block, which takes half as long again. `_ADAPTS`:
how much coarser busy blocks may be (sns_strength)."""
_BLOCK = 8
"""Rows that are converted together: what is transparent becomes even by blocks of this side."""
_COLUMNS = 64
"""Columns that are left out together where they are transparent: a multiple of _BLOCK."""
_BLACK_Y, _BLACK_UV = 16, 128
_YUVA = 4
_HAS_ALPHA = 0x10
"""The flag of the chunk VP8X."""


class _Config(ctypes.Structure):
    _fields_ = [
        ("lossless", c_int), ("quality", c_float), ("method", c_int), ("hint", c_int),
        ("target_size", c_int), ("target_psnr", c_float),
        *((name, c_int) for name in (
            "segments", "sns_strength", "filter_strength", "filter_sharpness", "filter_type",
            "autofilter", "alpha_compression", "alpha_filtering", "alpha_quality", "passes",
            "shows_compressed", "preprocessing", "partitions", "partition_limit",
            "emulates_jpeg_size", "threads", "low_memory", "near_lossless", "exact",
            "delta_palette", "sharp_yuv", "least_quantizer", "most_quantizer",
        )),
    ]  # fmt: skip


class _Picture(ctypes.Structure):
    _fields_ = [
        *((name, c_int) for name in ("uses_argb", "colours", "width", "height")),
        *((name, c_void_p) for name in ("y", "u", "v")),
        *((name, c_int) for name in ("y_stride", "uv_stride")),
        ("a", c_void_p), ("a_stride", c_int), ("padding1", c_uint32 * 2),
        ("argb", c_void_p), ("argb_stride", c_int), ("padding2", c_uint32 * 3),
        ("writer", c_void_p), ("written", c_void_p), ("info_type", c_int), ("info", c_void_p),
        ("stats", c_void_p), ("error", c_int), ("progress", c_void_p), ("user_data", c_void_p),
        ("padding3", c_uint32 * 3), ("padding4", c_void_p * 2), ("padding6", c_uint32 * 8),
        ("memory", c_void_p), ("memory_argb", c_void_p), ("padding7", c_void_p * 2),
    ]  # fmt: skip


class _Written(ctypes.Structure):
    _fields_ = [
        ("memory", c_void_p), ("size", c_size_t), ("room", c_size_t), ("padding", c_uint32 * 4),
    ]  # fmt: skip


# Through Pillow's module, the symbols of the library that it is linked with are found.
_library = ctypes.CDLL(_webp.__file__)
_library.WebPConfigInitInternal.argtypes = (POINTER(_Config), c_int, c_float, c_int)
_library.WebPPictureInitInternal.argtypes = (POINTER(_Picture), c_int)
_library.WebPPictureImportRGB.argtypes = (POINTER(_Picture), c_void_p, c_int)
_library.WebPPictureImportRGBA.argtypes = (POINTER(_Picture), c_void_p, c_int)
_library.WebPCleanupTransparentArea.argtypes = (POINTER(_Picture),)
_library.WebPPictureFree.argtypes = (POINTER(_Picture),)
_library.WebPMemoryWriterInit.argtypes = (POINTER(_Written),)
_library.WebPMemoryWriterClear.argtypes = (POINTER(_Written),)
_library.WebPEncode.argtypes = (POINTER(_Config), POINTER(_Picture))


@dataclass
class WebpWriter:
    """Takes strips from top to bottom; `close` returns the file."""

    height: int
    width: int
    has_alpha: bool
    _filled: int = 0
    _kept: list[Pixels] = field(default_factory=list)
    """Rows that wait for those below."""

    def __post_init__(self) -> None:
        half = (self.height + 1) // 2, (self.width + 1) // 2
        self._y = np.full((self.height, self.width), _BLACK_Y, np.uint8)
        self._u, self._v = (np.full(half, _BLACK_UV, np.uint8) for _ in range(2))
        self._alpha = AlphaWriter(self.width)

    def write(self, strip: Pixels) -> None:
        """The next rows: N x W x 3 RGB, or x 4 RGBA with alpha."""
        rows = np.concatenate([*self._kept, strip]) if self._kept else strip
        is_last = self._filled + len(rows) == self.height
        whole = len(rows) if is_last else len(rows) // _BLOCK * _BLOCK
        self._kept = [rows[whole:].copy()] if whole < len(rows) else []
        if whole:
            self._convert(np.ascontiguousarray(rows[:whole]))
            self._filled += whole

    def close(self) -> bytes:
        """The file, after the last row."""
        coloured = self._coloured()
        if self._alpha.is_opaque:
            return coloured
        sides = b"".join((side - 1).to_bytes(3, "little") for side in (self.width, self.height))
        frame = _chunk(b"VP8X", struct.pack("<I", _HAS_ALPHA) + sides)
        body = b"WEBP" + frame + _chunk(b"ALPH", self._alpha.close()) + coloured[12:]
        return _chunk(b"RIFF", body)

    def _coloured(self) -> bytes:
        """A WebP without alpha."""
        config, picture, written = _Config(), self._picture(self.height, self.width), _Written()
        if not _library.WebPConfigInitInternal(ctypes.byref(config), 0, _QUALITY, _ABI):
            raise ValueError("libwebp's interface has changed")
        config.method, config.sns_strength, config.low_memory = _METHOD, _ADAPTS, 1
        picture.y, picture.u, picture.v = (p.ctypes.data for p in (self._y, self._u, self._v))
        picture.y_stride, picture.uv_stride = self._y.strides[0], self._u.strides[0]
        _library.WebPMemoryWriterInit(ctypes.byref(written))
        picture.writer = ctypes.cast(_library.WebPMemoryWrite, c_void_p)
        picture.written = ctypes.addressof(written)
        try:
            if not _library.WebPEncode(ctypes.byref(config), ctypes.byref(picture)):
                raise ValueError(f"libwebp cannot encode it: error {picture.error}")
            return ctypes.string_at(written.memory, written.size)
        finally:
            _library.WebPMemoryWriterClear(ctypes.byref(written))

    def _picture(self, height: int, width: int) -> _Picture:
        picture = _Picture()
        if not _library.WebPPictureInitInternal(ctypes.byref(picture), _ABI):
            raise ValueError("libwebp's interface has changed")
        picture.width, picture.height = width, height
        return picture

    def _convert(self, rows: Pixels) -> None:
        """Fill the planes of these rows; they stay black where nothing is to be seen."""
        if not self.has_alpha:
            self._convert_part(rows, slice(0, self.width))
            return
        alpha = np.asarray(cv2.extractChannel(rows, 3), np.uint8)
        self._alpha.write(alpha)
        for _, columns in busy(alpha, (len(rows), _COLUMNS)):
            self._convert_part(rows[:, columns], columns)

    def _convert_part(self, rows: Pixels, columns: slice) -> None:
        """RGB to planes, by libwebp itself: it weights chroma by alpha, and makes what is
        transparent even. The rows may lie apart in memory."""
        picture = self._picture(*rows.shape[:2])
        load = _library.WebPPictureImportRGB
        if self.has_alpha:
            picture.colours, load = _YUVA, _library.WebPPictureImportRGBA
        if not load(ctypes.byref(picture), rows.ctypes.data, rows.strides[0]):
            raise MemoryError("libwebp has no memory")
        try:
            _library.WebPCleanupTransparentArea(ctypes.byref(picture))
            whole = slice(self._filled, self._filled + len(rows)), columns
            half = _halved(whole[0]), _halved(columns)
            _copy(picture.y, picture.y_stride, self._y[whole])
            _copy(picture.u, picture.uv_stride, self._u[half])
            _copy(picture.v, picture.uv_stride, self._v[half])
        finally:
            _library.WebPPictureFree(ctypes.byref(picture))


def _halved(span: slice) -> slice:
    """Where rows or columns of luma lie in chroma."""
    return slice(span.start // 2, (span.stop + 1) // 2)


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _copy(start: int, stride: int, into: NDArray[np.uint8]) -> None:
    """Rows of libwebp's memory -> `into`."""
    height, width = into.shape
    view = (ctypes.c_uint8 * (stride * height)).from_address(start)
    into[:] = np.frombuffer(view, np.uint8).reshape(height, stride)[:, :width]
