"""Decodes untrusted bytes. In the sandbox only: never in a process that must survive."""

import warnings
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from tasks.imaging import alpha as mattes
from tasks.imaging import colour, geometry, sources
from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header


def decode(data: bytes, memory: Pixels, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Write H x W x 3 to `memory` and, if there is transparency, H x W behind it.

    Arguments: `header`, the fields of the guard's Header, and `max_side`, the longest side of what
    is written. Returns {height, width, alpha, orientation, browsers_agree, notes}: the size
    written, whether there is an alpha, how the file was turned (EXIF's 1..8), whether browsers show
    it like this, and codes of notes.py.
    """
    cv2.setNumThreads(0)
    warnings.simplefilter("ignore")  # a program may have turned warnings into errors
    header, max_side = Header(**arguments["header"]), int(arguments["max_side"])
    source = sources.open_source(data, header)
    size = geometry.fit(source.height, source.width, max_side)
    stored = source.into(memory) if size == (source.height, source.width) else None
    if stored is None:
        stored = source.shrunk(*size)
    pixels = colour.to_srgb(stored, source.colour)
    pixels = geometry.upright(pixels, source.orientation)
    height, width, channels = pixels.shape
    area, has_alpha = height * width, channels == 4 and pixels[..., 3].min() < 255
    image = np.ascontiguousarray(pixels[..., :3])
    if has_alpha:
        image = mattes.over_white(image, pixels[..., 3])
    agree = colour.browsers_agree(source.colour, header, source.notes)
    if has_alpha and header.format == "avif":
        agree = False  # Chromium shows an alpha of 90 as 86, as if its range were narrow
    if not np.may_share_memory(image, memory):
        memory[: 3 * area] = image.reshape(-1)
    if has_alpha:
        memory[3 * area : 4 * area] = pixels[..., 3].reshape(-1)
    return {
        "height": height,
        "width": width,
        "alpha": bool(has_alpha),
        "orientation": source.orientation,
        "browsers_agree": agree,
        "notes": source.notes,
    }
