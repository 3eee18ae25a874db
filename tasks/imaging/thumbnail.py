"""A small picture of a result, for lists of jobs."""

import io

import cv2
import numpy as np
from PIL import Image as Picture

from tasks.imaging import geometry
from tasks.imaging.geometry import Pixels
from tasks.imaging.sinks import Encoded
from tasks.imaging.types import Alpha, Image

SIDE = 256
"""Longest side, in pixels."""


def thumbnail(image: Image, matte: Alpha | None) -> Encoded:
    """A WebP of an upright H x W x 3 RGB image, at most SIDE pixels a side and never enlarged.

    With a matte (H x W, 0..255, of any size) its transparency is that of the cut-out.
    """
    height, width = geometry.fit(image.shape[0], image.shape[1], SIDE)
    small = _resized(image, height, width)
    if matte is not None:
        small = np.dstack([small, _resized(np.asarray(matte, np.uint8), height, width)])
    out = io.BytesIO()
    Picture.fromarray(small).save(out, "WEBP", quality=80, method=0)
    return Encoded(out.getvalue(), "image/webp", width, height)


def _resized(pixels: Pixels, height: int, width: int) -> Pixels:
    """Averages of areas of what is left after picking pixels: a tenth of averaging all of them."""
    if min(pixels.shape[0] / height, pixels.shape[1] / width) > 2:
        pixels = cv2.resize(pixels, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
