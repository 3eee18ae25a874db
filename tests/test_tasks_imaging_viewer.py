"""The file that the page's viewer draws a volume from."""

import json
import struct
import zlib
from typing import Any

import numpy as np

from tasks.imaging.volumes import viewer
from tasks.imaging.volumes.volume import Volume


def unpacked(data: bytes) -> tuple[dict[str, Any], Any, Any]:
    """Header, values and labels, as the page reads them."""
    raw = zlib.decompress(data, wbits=31)
    assert raw[:4] == viewer.MAGIC
    [size] = struct.unpack_from("<I", raw, 4)
    header = json.loads(raw[8 : 8 + size])
    levels = np.frombuffer(raw, np.uint8, offset=8 + size).reshape(2, *header["shape"])
    return header, np.array(header["hu"])[levels[0]], levels[1]


def test_values_are_right_to_some_units_where_soft_tissue_is() -> None:
    voxels = np.arange(-1100, 1700, 7, np.int16)[None, None].repeat(64, 1)
    labels = np.zeros(voxels.shape, np.uint8)

    header, values, _ = unpacked(viewer.packed(Volume(voxels[:, :, :256], (1, 1, 1)), labels))

    error = np.abs(values - voxels[:, :, :256])
    soft = (voxels[:, :, :256] > -200) & (voxels[:, :, :256] < 290)
    assert error[soft].max() <= 2
    assert error[voxels[:, :, :256] > -1024].max() <= 11
    assert len(header["hu"]) <= 256


def test_large_slices_become_small_and_keep_their_size_in_mm() -> None:
    voxels = np.zeros((3, 512, 400), np.int16)
    labels = np.zeros(voxels.shape, np.uint8)
    labels[1, 100:200, 100:200] = 2

    header, _, small = unpacked(viewer.packed(Volume(voxels, (2.5, 0.7, 0.7)), labels))

    assert header["shape"] == [3, 256, 200]
    assert header["spacing_mm"] == [2.5, 1.4, 1.4]
    assert np.unique(small).tolist() == [0, 2]
    assert (small[1] == 2).sum() == 50 * 50


def test_pictures_without_units_use_all_levels_of_their_own() -> None:
    voxels = np.linspace(0, 255, 256, dtype=np.int16)[None, None].repeat(32, 1)
    volume = Volume(voxels, (0, 0, 0), is_hu=False)

    header, values, _ = unpacked(viewer.packed(volume, np.zeros(voxels.shape, np.uint8)))

    assert np.array_equal(values, voxels)
    assert header["is_hu"] is False
