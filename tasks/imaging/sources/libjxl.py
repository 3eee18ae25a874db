"""Decodes a JPEG XL with libjxl's own interface, in one thread.

The library is the one that imagecodecs brings; its own function decodes all frames of an animation
and tells nothing of the colours. Called in the sandbox only.
"""

import ctypes
from ctypes import byref, c_char_p, c_double, c_float, c_int, c_size_t, c_uint8, c_uint32, c_void_p
from dataclasses import dataclass

import imagecodecs._jpegxl
import numpy as np

from tasks.imaging.geometry import Pixels

_INFO, _COLOURS, _IMAGE = 0x40, 0x100, 0x1000
_NEEDS_BUFFER = 5
_OF_PIXELS = 1
"""Of the two colour spaces, that of the pixels which are written."""
_TYPES = {np.dtype(np.uint8): 2, np.dtype(np.uint16): 3}
_GREY = 1
_PQ, _HLG, _SRGB = 16, 18, 13
_D65, _SRGB_PRIMARIES, _RELATIVE = 1, 1, 1
_SDR_NITS = 203.0
"""What white is mapped to (ITU-R BT.2408)."""


class _Info(ctypes.Structure):
    """JxlBasicInfo."""

    _fields_ = [
        *((name, c_uint32) for name in ("is_boxed", "width", "height", "bits", "exponent_bits")),
        *((name, c_float) for name in ("nits", "min_nits")),
        ("is_relative", c_uint32),
        ("linear_below", c_float),
        *((name, c_uint32) for name in ("keeps_profile", "has_preview", "is_animated")),
        *((name, c_uint32) for name in ("orientation", "colours", "extra", "alpha_bits")),
        *((name, c_uint32) for name in ("alpha_exponent_bits", "premultiplied")),
        ("room", c_uint32 * 128),
    ]


class _Format(ctypes.Structure):
    """JxlPixelFormat."""

    _fields_ = [("channels", c_uint32), ("type", c_int), ("order", c_int), ("align", c_size_t)]


class _Encoding(ctypes.Structure):
    """JxlColorEncoding."""

    _fields_ = [
        *((name, c_int) for name in ("space", "white")),
        ("white_xy", c_double * 2),
        ("primaries", c_int),
        ("primaries_xy", c_double * 6),
        ("transfer", c_int),
        ("gamma", c_double),
        ("intent", c_int),
    ]


# Through imagecodecs' module, the symbols of the library that it is linked with are found.
_library = ctypes.CDLL(imagecodecs._jpegxl.__file__)
_library.JxlDecoderCreate.restype = c_void_p
_library.JxlDecoderCreate.argtypes = (c_void_p,)
for _name in ("SubscribeEvents", "SetKeepOrientation", "SetUnpremultiplyAlpha"):
    getattr(_library, f"JxlDecoder{_name}").argtypes = (c_void_p, c_int)
_library.JxlDecoderSetInput.argtypes = (c_void_p, c_char_p, c_size_t)
_library.JxlDecoderGetBasicInfo.argtypes = (c_void_p, c_void_p)
_library.JxlDecoderSetImageOutBuffer.argtypes = (c_void_p, c_void_p, c_void_p, c_size_t)
_library.JxlDecoderGetICCProfileSize.argtypes = (c_void_p, c_int, c_void_p)
_library.JxlDecoderGetColorAsICCProfile.argtypes = (c_void_p, c_int, c_void_p, c_size_t)
_library.JxlDecoderGetColorAsEncodedProfile.argtypes = (c_void_p, c_int, c_void_p)
_library.JxlDecoderSetPreferredColorProfile.argtypes = (c_void_p, c_void_p)
_library.JxlDecoderSetDesiredIntensityTarget.argtypes = (c_void_p, c_float)
for _name in ("CloseInput", "ProcessInput", "Destroy"):
    getattr(_library, f"JxlDecoder{_name}").argtypes = (c_void_p,)


@dataclass(frozen=True)
class About:
    """What a file says before its pixels."""

    width: int
    height: int
    """As stored, before it is made upright."""
    channels: int
    """1 grey, 2 grey and alpha, 3 RGB, 4 RGBA."""
    bits: int
    orientation: int
    """EXIF's 1..8; EXIF in a JPEG XL repeats it and is not applied."""
    profile: bytes
    """ICC, of the pixels that `pixels` makes."""
    is_hdr: bool
    """PQ or HLG, which is mapped to sRGB."""


class Decoder:
    """Decodes the first frame of one file."""

    def __init__(self, data: bytes) -> None:
        """Raises ValueError for whatever libjxl refuses."""
        self._data, self._decoder = data, c_void_p(_library.JxlDecoderCreate(None))
        call = self._call
        call("SubscribeEvents", _INFO | _COLOURS | _IMAGE)
        call("SetKeepOrientation", 1)
        call("SetUnpremultiplyAlpha", 1)
        call("SetInput", data, len(data))
        _library.JxlDecoderCloseInput(self._decoder)
        self._expect(_INFO)
        info = _Info()
        call("GetBasicInfo", byref(info))
        self._expect(_COLOURS)
        is_hdr = self._map_tones()
        self.about = About(
            info.width,
            info.height,
            info.colours + (info.alpha_bits > 0),
            16 if info.exponent_bits else info.bits,
            info.orientation,
            self._profile(),
            is_hdr,
        )

    def pixels(self) -> Pixels:
        """H x W x channels, straight alpha; uint8, or uint16 with more than 8 bits."""
        about = self.about
        kind = np.uint16 if about.bits > 8 else np.uint8
        pixels = np.empty((about.height, about.width, about.channels), kind)
        form = _Format(about.channels, _TYPES[pixels.dtype], 0, 0)
        self._expect(_NEEDS_BUFFER)
        self._call("SetImageOutBuffer", byref(form), pixels.ctypes.data, pixels.nbytes)
        self._expect(_IMAGE)
        _library.JxlDecoderDestroy(self._decoder)
        return pixels

    def _map_tones(self) -> bool:
        """Ask for sRGB if the picture is HDR; whether it is."""
        encoding = _Encoding()
        if _library.JxlDecoderGetColorAsEncodedProfile(
            self._decoder, _OF_PIXELS, byref(encoding)
        ) or encoding.transfer not in (_PQ, _HLG):
            return False
        self._call("SetDesiredIntensityTarget", _SDR_NITS)
        wanted = _Encoding(space=encoding.space, white=_D65, primaries=_SRGB_PRIMARIES,
                           transfer=_SRGB, intent=_RELATIVE)  # fmt: skip
        self._call("SetPreferredColorProfile", byref(wanted))
        return True

    def _profile(self) -> bytes:
        size = c_size_t()
        if _library.JxlDecoderGetICCProfileSize(self._decoder, _OF_PIXELS, byref(size)):
            return b""
        profile = (c_uint8 * size.value)()
        self._call("GetColorAsICCProfile", _OF_PIXELS, profile, size.value)
        return bytes(profile)

    def _expect(self, event: int) -> None:
        """Go on until something happens. Raises ValueError if it is something else."""
        status = _library.JxlDecoderProcessInput(self._decoder)
        if status != event:
            raise ValueError(f"libjxl cannot decode it: status {status}, expected {event}")

    def _call(self, name: str, *arguments: object) -> None:
        if status := getattr(_library, f"JxlDecoder{name}")(self._decoder, *arguments):
            raise ValueError(f"libjxl cannot decode it: {name} {status}")
