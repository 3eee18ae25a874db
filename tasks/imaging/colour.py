"""Converts colours to sRGB, by the profile that a picture brings."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageCms

from tasks.imaging.types import Image

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_SPACE = slice(16, 20)
"""The bytes of a profile that name its colour space."""


def to_srgb(image: Image, profile: bytes) -> Image:
    """RGB with an ICC profile -> RGB in sRGB. An invalid profile changes nothing."""
    if profile[_SPACE] != b"RGB " or _is_srgb(profile):
        return image
    return _convert(Picture.fromarray(image), profile)


def cmyk_to_srgb(image: NDArray[np.uint8], profile: bytes) -> Image:
    """H x W x 4 CMYK, 255 = full ink -> RGB in sRGB, by its profile, or without one by simple
    mixing."""
    height, width = image.shape[:2]
    picture = Picture.frombuffer("CMYK", (width, height), image, "raw", "CMYK", 0, 1)
    if profile[_SPACE] != b"CMYK":
        return np.array(picture.convert("RGB"))
    return _convert(picture, profile)


def _is_srgb(profile: bytes) -> bool:
    return b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile


def _convert(picture: Picture.Image, profile: bytes) -> Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):  # an invalid profile: the values stay as they are
        converted = None
    return np.array(converted or picture.convert("RGB"))
