"""What the values of an upload mean, and how they become sRGB."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageCms

from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_SPACE = slice(16, 20)
"""The bytes of a profile that name its colour space."""


@dataclass(frozen=True)
class Colour:
    """The colour space of a picture."""

    space: Literal["GRAY", "RGB", "CMYK"] = "RGB"
    icc: bytes = b""
    """ICC profile; empty for sRGB."""
    notes: tuple[str, ...] = ()
    """Codes of notes.py."""


def find(data: bytes, header: Header, info: Mapping[Any, Any]) -> Colour:
    """The colour space of an upload. `info`: what Pillow has found in it."""
    profile = info.get("icc_profile") or b""
    if header.format == "jpeg" and header.channels == 4:
        return Colour("CMYK", profile if profile[_SPACE] == b"CMYK" else b"")
    is_srgb = b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile
    return Colour(icc=b"" if is_srgb or profile[_SPACE] != b"RGB " else profile)


def to_srgb(pixels: Pixels, colour: Colour) -> NDArray[np.uint8]:
    """Pixels of a source (sources/base.py) -> H x W x 3 in sRGB, x 4 with their alpha."""
    pixels = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    if colour.space == "CMYK":
        height, width = pixels.shape[:2]
        inks = np.ascontiguousarray(pixels)
        picture = Picture.frombuffer("CMYK", (width, height), inks, "raw", "CMYK", 0, 1)
        return _convert(picture, colour.icc)
    channels = pixels.shape[2]
    values = pixels[..., :3] if channels > 2 else np.repeat(pixels[..., :1], 3, 2)
    if colour.icc:
        values = _convert(Picture.fromarray(np.ascontiguousarray(values)), colour.icc)
    return np.dstack([values, pixels[..., -1]]) if channels in (2, 4) else values


def profile(colour: Colour) -> bytes:
    """The ICC profile that says what the values mean; empty for sRGB."""
    return colour.icc


def _convert(picture: Picture.Image, profile: bytes) -> NDArray[np.uint8]:
    """An invalid profile changes nothing."""
    converted = None
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, source, _SRGB, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            converted = None
    return np.array(converted or picture.convert("RGB"))
