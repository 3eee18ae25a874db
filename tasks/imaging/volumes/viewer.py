"""The file from which the page's viewer draws a volume: small slices and a label for each voxel.

One byte holds a voxel: a level of a table of Hounsfield units, which is fine between -200 and 300,
where soft tissue is, and coarse elsewhere. So the browser applies any window itself, and 300 slices
take some MiB. A lossy picture of each slice would be smaller, but fix one window.

The file is gzip of: MAGIC, the length of the header (4 bytes, little endian), the header (JSON:
shape, spacing_mm, hu, is_hu), the voxels, the labels; both Z x H x W bytes.
"""

import json
import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging.volumes.volume import Volume

MAGIC = b"PXV1"
MEDIA_TYPE = "application/gzip"
NAME = "slices.bin.gz"
MOST_SIDE = 256
"""Pixels of the longer side of a slice."""
LEVEL = 1
"""Of gzip: level 6 takes four times as long for a tenth less."""
_STEPS = ((-1024, -200, 12), (-200, 300, 4), (300, 1600, 22))
"""HU from, to, and the distance of levels."""


def packed(volume: Volume, labels: NDArray[np.uint8]) -> bytes:
    """The file of a volume. `labels`: Z x H x W, 0 for none, else the `value` of a region."""
    depth, height, width = volume.voxels.shape
    scale = min(1.0, MOST_SIDE / max(height, width))
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    hu = _table(volume)
    header = {
        "shape": [depth, size[1], size[0]],
        "spacing_mm": [
            volume.spacing_mm[0],
            volume.spacing_mm[1] * height / size[1],
            volume.spacing_mm[2] * width / size[0],
        ],
        "hu": hu.tolist(),
        "is_hu": volume.is_hu,
    }
    text = json.dumps(header).encode()
    gzip = zlib.compressobj(LEVEL, wbits=31)
    parts = [gzip.compress(MAGIC + struct.pack("<I", len(text)) + text)]
    for one in volume.voxels:
        small = cv2.resize(one, size, interpolation=cv2.INTER_AREA)
        parts.append(gzip.compress(_levels(small, hu).tobytes()))
    for one in labels:
        small = cv2.resize(one, size, interpolation=cv2.INTER_NEAREST)
        parts.append(gzip.compress(small.tobytes()))
    return b"".join([*parts, gzip.flush()])


def _table(volume: Volume) -> NDArray[np.int32]:
    """HU of each level; of other values, levels at equal distances."""
    if volume.is_hu:
        return np.concatenate([np.arange(*step) for step in _STEPS]).astype(np.int32)
    low, high = int(volume.voxels.min()), int(volume.voxels.max())
    return np.linspace(low, max(high, low + 1), 256).round().astype(np.int32)


def _levels(values: NDArray[np.int16], hu: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The nearest level of each value."""
    middles = (hu[1:] + hu[:-1]) / 2
    return np.searchsorted(middles, values).astype(np.uint8)
