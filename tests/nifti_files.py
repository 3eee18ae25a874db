"""NIfTI files for tests and benches: a volume in the usual orientation."""

import gzip
import struct
from typing import Any

import numpy as np


def nifti_gz(voxels: "np.ndarray[Any, np.dtype[np.int16]]", spacing_mm: tuple[float, ...]) -> bytes:
    """The .nii.gz of Z x H x W voxels: from the feet, the front and the body's right on."""
    depth, height, width = voxels.shape
    z_mm, y_mm, x_mm = spacing_mm
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, width, height, depth, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, x_mm, y_mm, z_mm, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    struct.pack_into("<h", header, 254, 1)
    # Rows of NIfTI's own axes, which lead to the right, the front and the head.
    struct.pack_into("<12f", header, 280, -x_mm, 0, 0, 0, 0, -y_mm, 0, 0, 0, 0, z_mm, 0)
    header[344:348] = b"n+1\0"
    return gzip.compress(bytes(header) + voxels.astype("<i2").tobytes(), 1)
