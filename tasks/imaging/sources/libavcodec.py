"""Decodes single HEVC pictures with FFmpeg's libavcodec, which OpenCV brings for its films.

The usual way, libheif with libde265, takes a fifth more CPU and holds the whole picture, and its
wheels hold either x265, whose licence is the GPL, or versions with known holes. Called in the
sandbox only.
"""

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path

import cv2

from tasks.imaging.headers.heif import Coding

_PLANES = 8
_QUIET = -8
_MAJORS = range(59, 63)
"""Versions whose structures start as those below."""
_BLOCK = 64
"""Coded pictures are filled up to whole blocks of this side, at most."""


class _Packet(ctypes.Structure):
    """The start of AVPacket."""

    _fields_ = [
        ("buffer", c_void_p),
        ("shown", c_int64),
        ("decoded", c_int64),
        ("data", c_void_p),
        ("size", c_int),
    ]


class Frame(ctypes.Structure):
    """The start of AVFrame."""

    _fields_ = [
        ("planes", c_void_p * _PLANES),
        ("strides", c_int * _PLANES),
        ("more_planes", c_void_p),
        ("width", c_int),
        ("height", c_int),
        ("samples", c_int),
        ("format", c_int),
    ]


def _loaded() -> ctypes.CDLL:
    """The library. Through OpenCV's module, the symbols of what it is linked with are found."""
    module = next(Path(cv2.__file__).parent.glob("cv2*.so"))
    library = ctypes.CDLL(str(module))
    major = library.avcodec_version() >> 16
    if major not in _MAJORS:
        raise ImportError(f"libavcodec {_MAJORS.start} to {_MAJORS.stop - 1} is known, not {major}")
    library.avcodec_find_decoder_by_name.restype = c_void_p
    library.avcodec_find_decoder_by_name.argtypes = (c_char_p,)
    library.avcodec_alloc_context3.restype = c_void_p
    library.avcodec_alloc_context3.argtypes = (c_void_p,)
    library.avcodec_open2.argtypes = (c_void_p, c_void_p, c_void_p)
    library.av_opt_set.argtypes = (c_void_p, c_char_p, c_char_p, c_int)
    library.av_opt_get_int.argtypes = (c_void_p, c_char_p, c_int, POINTER(c_int64))
    library.av_packet_alloc.restype = POINTER(_Packet)
    library.av_new_packet.argtypes = (c_void_p, c_int)
    library.av_packet_free.argtypes = (c_void_p,)
    library.av_frame_alloc.restype = POINTER(Frame)
    library.av_frame_free.argtypes = (c_void_p,)
    library.avcodec_send_packet.argtypes = (c_void_p, c_void_p)
    library.avcodec_receive_frame.argtypes = (c_void_p, c_void_p)
    library.avcodec_flush_buffers.argtypes = (c_void_p,)
    library.av_get_pix_fmt_name.restype = c_char_p
    library.av_get_pix_fmt_name.argtypes = (c_int,)
    library.av_log_set_level(_QUIET)
    return library


try:
    _library: ctypes.CDLL | None = _loaded()
except (ImportError, OSError, AttributeError, StopIteration):  # an OpenCV without films
    _library = None


class Decoder:
    """Decodes tiles that are all coded in one way."""

    def __init__(self, coding: Coding, height: int, width: int) -> None:
        """Tiles may not be larger than height x width. Raises ValueError without a decoder."""
        codec = _library.avcodec_find_decoder_by_name(b"hevc") if _library else None
        if not _library or not codec:
            raise ValueError("this OpenCV has no decoder for HEVC")
        self._library, self._coding = _library, coding
        self._context = c_void_p(_library.avcodec_alloc_context3(codec))
        most = (height + _BLOCK) * (width + _BLOCK)
        options = {"threads": "1", "err_detect": "explode", "max_pixels": str(most)}
        for name, value in options.items():
            _check(_library.av_opt_set(self._context, name.encode(), value.encode(), 0))
        _check(_library.avcodec_open2(self._context, codec, None))

    def decode(self, tile: bytes) -> "ctypes._Pointer[Frame]":
        """The frame of one tile; give it to `free`. Raises ValueError."""
        units = self._coding.parameters + _start_codes(tile, self._coding.length_bytes)
        packet, frame = self._library.av_packet_alloc(), self._library.av_frame_alloc()
        _check(self._library.av_new_packet(packet, len(units)))
        ctypes.memmove(packet.contents.data, units, len(units))
        try:
            _check(self._library.avcodec_send_packet(self._context, packet))
            _check(self._library.avcodec_send_packet(self._context, None))
            _check(self._library.avcodec_receive_frame(self._context, frame))
        finally:
            self._library.av_packet_free(byref(packet))
        self._library.avcodec_flush_buffers(self._context)
        return frame  # type: ignore[no-any-return]

    def free(self, frame: "ctypes._Pointer[Frame]") -> None:
        """Give a frame's memory back."""
        self._library.av_frame_free(byref(frame))

    def format_of(self, frame: Frame) -> str:
        """FFmpeg's name of how the pixels lie, such as `yuv420p10le`."""
        return str(self._library.av_get_pix_fmt_name(frame.format).decode())

    def stated(self, name: str) -> int:
        """A number that the coded data states: `colorspace`, `color_range`, `color_primaries`
        or `color_trc`, by ITU-T H.273."""
        value = c_int64()
        _check(self._library.av_opt_get_int(self._context, name.encode(), 0, byref(value)))
        return value.value


def _start_codes(tile: bytes, length_bytes: int) -> bytes:
    """The units of a tile, each behind a start code instead of its length."""
    parts, position = [], 0
    while position < len(tile):
        start = position + length_bytes
        position = start + int.from_bytes(tile[position:start], "big")
        if position > len(tile):
            raise ValueError("a tile is cut short")
        parts += [b"\0\0\0\1", tile[start:position]]
    return b"".join(parts)


def _check(result: int) -> None:
    if result < 0:
        raise ValueError(f"libavcodec cannot decode it: {result}")
