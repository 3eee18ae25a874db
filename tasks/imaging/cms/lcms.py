"""Calls LittleCMS, the library that Pillow brings, with 8 or 16 bits and floating point.

Pillow's ImageCms knows 8 bits only, and no floating point: dark colours of linear light are lost,
and what a profile does could not be measured. The functions used here have not changed since
LittleCMS 2.0. Colours are converted with the perceptual intent and without flags, as ImageCms
does when it is not told otherwise.
"""

import ctypes
import weakref
from ctypes import c_char_p, c_int, c_uint32, c_void_p
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import _imagingcms

Space = Literal["GRAY", "RGB", "CMYK"]

FAST, FINE, EXACT = 0, 0x0400, 0x0100
"""How a transform is made: as usual; with a finer grid where it needs one; colour by colour."""
_PERCEPTUAL = 0
_KINDS: dict[Space, tuple[int, int]] = {"GRAY": (3, 1), "RGB": (4, 3), "CMYK": (6, 4)}
"""LittleCMS's number of a kind of colours, and how many channels it has."""

# Through Pillow's module, the symbols of the library that it is linked with are found.
_library = ctypes.CDLL(_imagingcms.__file__)
_library.cmsOpenProfileFromMem.argtypes = (c_char_p, c_uint32)
_library.cmsOpenProfileFromMem.restype = c_void_p
_library.cmsCreate_sRGBProfile.restype = c_void_p
_library.cmsCloseProfile.argtypes = (c_void_p,)
_library.cmsCreateTransform.argtypes = (c_void_p, c_uint32, c_void_p, c_uint32, c_uint32, c_uint32)
_library.cmsCreateTransform.restype = c_void_p
_library.cmsDeleteTransform.argtypes = (c_void_p,)
_library.cmsDoTransform.argtypes = (c_void_p, c_void_p, c_void_p, c_uint32)
_library.cmsDoTransform.restype = None
_library.cmsCloseProfile.restype = c_int


class Transform:
    """A conversion from the colours of one profile to those of another one."""

    def __init__(
        self,
        profile: bytes,
        space: Space,
        depth: DTypeLike,
        *,
        target: bytes = b"",
        target_depth: DTypeLike = np.uint8,
        way: int = FAST,
    ) -> None:
        """From `profile`, with H x W x channels of `space`, to RGB of the profile `target`.

        `target` b"" is sRGB. Depths: uint8, uint16, float32 (0..1, and beyond for colours that the
        target does not have). Raises ValueError if LittleCMS refuses the profile.
        """
        source, goal = _open(profile), _open(target)
        formats = _format(space, depth), _format("RGB", target_depth)
        handle = source and goal and _create(source, formats[0], goal, formats[1], way)
        for opened in (source, goal):
            if opened:
                _library.cmsCloseProfile(opened)
        if not handle:
            raise ValueError("LittleCMS refuses the profile")
        self._handle = handle
        self._depth, self._target_depth = np.dtype(depth), np.dtype(target_depth)
        self._channels = _KINDS[space][1]
        weakref.finalize(self, _library.cmsDeleteTransform, handle)

    def __call__(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """H x W x channels -> H x W x 3."""
        given = np.ascontiguousarray(pixels, self._depth)
        if given.ndim != 3 or given.shape[2] != self._channels:
            raise ValueError(f"{given.shape} has not {self._channels} channels")
        made = np.empty((*given.shape[:2], 3), self._target_depth)
        count = given.shape[0] * given.shape[1]
        _library.cmsDoTransform(self._handle, given.ctypes.data, made.ctypes.data, count)
        return made


def _open(profile: bytes) -> int | None:
    if not profile:
        return _library.cmsCreate_sRGBProfile()  # type: ignore[no-any-return] # of ctypes
    return _library.cmsOpenProfileFromMem(profile, len(profile))  # type: ignore[no-any-return]


def _create(source: int, source_format: int, goal: int, goal_format: int, flags: int) -> int | None:
    return _library.cmsCreateTransform(  # type: ignore[no-any-return] # of ctypes
        source, source_format, goal, goal_format, _PERCEPTUAL, flags
    )


def _format(space: Space, depth: DTypeLike) -> int:
    """LittleCMS's description of a pixel."""
    kind, channels = _KINDS[space]
    of = np.dtype(depth)
    return (of.kind == "f") << 22 | kind << 16 | channels << 3 | of.itemsize
