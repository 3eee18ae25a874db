"""Reads NRRD files with their voxels in them. In the sandbox only."""

from io import BytesIO
from typing import Any

import numpy as np

from tasks.imaging.volumes.grid import USUAL, Affine
from tasks.imaging.volumes.inflate import bunzip, gunzip
from tasks.imaging.volumes.sentences import Refused

MAGIC = b"NRRD000"
MOST_HEADER_BYTES = 2**20
_SIGNS = {"l": (0, 1), "r": (0, -1), "p": (1, 1), "a": (1, -1), "s": (2, 1), "i": (2, -1)}
"""First letter of a direction -> its axis in LPS, and which way."""


class Nrrd:
    """The header of a file, and where its voxels are."""

    def __init__(self, data: bytes) -> None:
        import nrrd

        end = min((at for at in (data.find(b"\n\n"), data.find(b"\r\n\r\n")) if at > 0), default=-1)
        if not 0 < end <= MOST_HEADER_BYTES:
            raise Refused("bad_header")
        stream = BytesIO(data)
        try:
            self._fields: dict[str, Any] = dict(nrrd.read_header(stream))
        except (nrrd.NRRDError, ValueError, KeyError, IndexError, TypeError) as error:
            raise Refused("bad_header") from error
        if self._fields.keys() & {"data file", "datafile"}:
            raise Refused("detached")
        self._data, self._at = data, stream.tell()

    @property
    def shape(self) -> tuple[int, int, int]:
        """k, j, i of the array. Raises Refused unless it has three axes."""
        sides = [int(side) for side in self._fields.get("sizes", ())]
        if len(sides) != 3 or len(sides) != self._fields.get("dimension"):
            raise Refused("not_three_axes", count=len(sides))
        if min(sides) < 1:
            raise Refused("bad_header")
        return sides[2], sides[1], sides[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored voxels."""
        from nrrd.reader import _determine_datatype  # what nrrd.read itself asks

        try:
            kind: np.dtype[Any] = np.dtype(_determine_datatype(self._fields))
        except Exception as error:  # it raises what it likes for a type that it does not know
            raise Refused("unknown_type") from error
        if kind.kind not in "iuf":
            raise Refused("unknown_type")
        return kind

    def affine(self) -> tuple[Affine, bool, bool]:
        """LPS, whether the file says how it lies in the body, and whether it says distances."""
        directions = self._fields.get("space directions")
        if directions is None:
            spacings = np.asarray(self._fields.get("spacings", [np.nan] * 3), np.float64)
            has_spacing = spacings.shape == (3,) and bool(np.isfinite(spacings).all())
            sides = np.abs(spacings) if has_spacing else np.ones(3)
            return USUAL @ np.diag([*sides, 1.0]), False, has_spacing
        vectors = np.asarray(directions, np.float64)
        if vectors.shape != (3, 3) or not np.isfinite(vectors).all():
            raise Refused("bad_header")
        origin = np.asarray(self._fields.get("space origin", np.zeros(3)), np.float64)
        if origin.shape != (3,) or not np.isfinite(origin).all():
            raise Refused("bad_header")
        world = self._world()
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = vectors.T, origin
        to_lps = np.eye(4)
        if world is not None:
            to_lps[:3, :3] = world
        return to_lps @ affine, world is not None, True

    def _world(self) -> np.ndarray | None:
        """3 x 3: the file's space -> LPS; None for a space that is not the patient's."""
        name = str(self._fields.get("space", "")).lower()
        words = name.split("-") if "-" in name else list(name)
        if len(words) != 3 or any(word[:1] not in _SIGNS for word in words):
            return None
        world = np.zeros((3, 3))
        for n, word in enumerate(words):
            axis, sign = _SIGNS[word[0]]
            world[axis, n] = sign
        return world if abs(np.linalg.det(world)) == 1 else None

    def voxels(self, most: int) -> np.ndarray:
        """The array, k, j, i, of at most so many bytes."""
        encoding = str(self._fields.get("encoding", "raw")).lower()
        data = memoryview(self._data)[self._at :]
        if any(int(self._fields.get(name, 0)) for name in ("line skip", "lineskip")):
            raise Refused("unknown_encoding")
        if encoding in ("gzip", "gz"):
            data = memoryview(gunzip(data, most))
        elif encoding in ("bzip2", "bz2"):
            data = memoryview(bunzip(data, most))
        elif encoding != "raw":
            raise Refused("unknown_encoding")
        skip = int(self._fields.get("byte skip", self._fields.get("byteskip", 0)))
        count = int(np.prod(self.shape, dtype=np.int64))
        size = count * self.dtype.itemsize
        if skip < 0:  # -1: the voxels are the end of the file
            skip = len(data) - size
        if skip < 0 or len(data) < skip + size:
            raise Refused("bad_volume")
        return np.frombuffer(data, self.dtype, count, skip).reshape(self.shape)
