"""Arrays as bytes: what they are, then their pixels. It imports NumPy, so import it late."""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 64
"""Bytes before the pixels, which say dtype and shape; a multiple of 64 aligns the pixels. (To parse
the header of np.save, a Python literal, took a tenth of a small job's CPU.)"""


def packed(array: NDArray[Any]) -> tuple[bytes, memoryview]:
    """HEADER_BYTES that say `dtype shape`, then the pixels."""
    shape = ",".join(map(str, array.shape))
    header = f"{array.dtype.str} {shape}".encode().ljust(HEADER_BYTES)
    if len(header) > HEADER_BYTES or array.dtype.hasobject:
        raise ValueError(f"scratch stores no array of this kind: {array.dtype} {array.shape}")
    return header, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def unpacked(data: bytes | mmap.mmap) -> NDArray[Any]:
    """The array in these bytes; read-only, as it is not copied."""
    dtype, shape = data[:HEADER_BYTES].decode().split(" ")[:2]
    sides = [int(side) for side in shape.split(",") if side]
    return np.frombuffer(data, np.dtype(dtype), offset=HEADER_BYTES).reshape(sides)
