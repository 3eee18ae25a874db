"""Opens the file of a volume: NIfTI of whole numbers, so far."""

import struct
import zlib

import numpy as np

from tasks.errors import BadInput
from tasks.imaging.volumes import kinds
from tasks.imaging.volumes.limits import Limits
from tasks.imaging.volumes.volume import Volume

HEADER_BYTES = 348
MAGIC_AT = 344
INT16 = 4


def open_volume(data: bytes, limits: Limits) -> Volume:
    """The volume in a file. Raises BadInput with a sentence for one that cannot be used."""
    if len(data) > limits.max_bytes:
        raise _damaged()
    kind, most = kinds.media_type(data), limits.max_raw_bytes + HEADER_BYTES
    raw = _unzipped(data, most) if kind == "application/gzip" else data
    if raw[MAGIC_AT : MAGIC_AT + 3] != b"n+1":
        raise _damaged()
    return _nifti(raw, limits)


def _nifti(raw: bytes, limits: Limits) -> Volume:
    _, width, height, slices = struct.unpack_from("<4h", raw, 40)
    [kind] = struct.unpack_from("<h", raw, 70)
    x_mm, y_mm, z_mm = struct.unpack_from("<3f", raw, 80)
    [start] = struct.unpack_from("<f", raw, 108)
    if kind != INT16 or min(width, height, slices) < 1 or slices > limits.max_slices:
        raise _damaged()
    count = width * height * slices
    if 2 * count > limits.max_raw_bytes or len(raw) < int(start) + 2 * count:
        raise _damaged()
    voxels = np.frombuffer(raw, "<i2", count, int(start)).reshape(slices, height, width)
    return Volume(voxels, (z_mm, y_mm, x_mm))


def _unzipped(data: bytes, most: int) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(data, most)
    except zlib.error as error:
        raise _damaged() from error


def _damaged() -> BadInput:
    return BadInput(
        "This picture cannot be decoded: it is damaged, cut short, or takes too much to read.",
        code="decode_failed",
    )
