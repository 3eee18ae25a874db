"""Reads headers of NIfTI-1 and -2 and their voxels; writes masks. `read` in the sandbox only."""

import gzip
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.imaging.volumes.grid import Affine, Grid
from tasks.imaging.volumes.sentences import Refused

_UINT8 = 2
_MILLIMETRES = 2
_SCANNER = 1
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Layout:
    """Where the header of one version of NIfTI has what is read or written here."""

    name: str
    """Of the grid's header that a mask repeats."""
    header_bytes: int
    magic_at: int
    magic: bytes
    geometry: tuple[tuple[int, int], ...]
    """Bytes that say where voxels lie: dim, pixdim, units, both forms. A mask repeats them, and
    nothing else: other fields may name a patient."""
    dim: tuple[int, str]
    """Where the eight numbers of `dim` begin, and their kind, as struct has it."""
    kind_at: int
    """Of the voxels' type and its bits."""
    scale: tuple[int, str]
    """Where voxels begin, slope and intercept."""

    @property
    def start(self) -> int:
        """Where voxels begin in the files that we write."""
        return self.header_bytes + 4


_ONE = Layout(
    "nifti", 348, 344, b"n+1\0",
    ((40, 56), (76, 108), (123, 124), (252, 328)), (40, "8h"), 70, (108, "3f"),
)  # fmt: skip
_TWO = Layout(
    "nifti-2", 540, 4, b"n+2\0\r\n\x1a\n",
    ((16, 80), (104, 168), (344, 496), (500, 504)), (16, "8q"), 12, (168, "q2d"),
)  # fmt: skip
START_BYTES = _TWO.start
"""So much of a file has the header of either version."""


def is_nifti(start: bytes) -> bool:
    """Whether the first START_BYTES of a file are the header of a one-file NIfTI."""
    return _found(start) is not None


def _found(start: bytes) -> tuple[Layout, str] | None:
    """The version, and the byte order as struct has it."""
    for layout in (_ONE, _TWO):
        magic = start[layout.magic_at : layout.magic_at + len(layout.magic)]
        if len(start) < layout.header_bytes or magic != layout.magic:
            continue
        for order in "<>":
            if struct.unpack_from(f"{order}i", start)[0] == layout.header_bytes:
                return layout, order
    return None


def _known(start: bytes) -> tuple[Layout, str]:
    found = _found(start)
    if found is None:
        raise Refused("bad_volume")
    return found


def header(start: bytes) -> Any:
    """nibabel's header. Raises Refused for one that nibabel does not take."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header
    from nibabel.spatialimages import HeaderDataError

    layout, order = _known(start)
    make: Any = Nifti1Header if layout is _ONE else Nifti2Header
    try:
        return make(start[: layout.header_bytes], endianness=order, check=False)
    except (HeaderDataError, ValueError) as error:
        raise Refused("bad_header") from error


def shape(head: Any) -> tuple[tuple[int, int, int], int]:
    """k, j, i of the file's array, and how many such arrays the file has."""
    count = int(head["dim"][0])
    sides = [int(side) for side in head["dim"][1 : 1 + max(0, min(count, 7))]]
    if not 1 <= count <= 7 or min(sides) < 1:
        raise Refused("bad_header")
    sides += [1] * (3 - len(sides))
    more = int(np.prod(sides[3:], dtype=np.int64))
    if len(sides) > 4 and more != sides[3]:
        raise Refused("not_three_axes", count=count)
    return (sides[2], sides[1], sides[0]), more


def affine(head: Any) -> tuple[Affine, bool]:
    """LPS, and whether the file says how it lies in the body."""
    is_placed = bool(head["sform_code"] > 0 or head["qform_code"] > 0)
    found = np.asarray(head.get_best_affine(), np.float64)
    units = int(head["xyzt_units"]) & 7
    factor = {1: 1000.0, 3: 0.001}.get(units, 1.0)  # metres, micrometres
    return _TO_RAS @ np.diag([factor, factor, factor, 1.0]) @ found, is_placed


def scale(head: Any) -> tuple[float, float]:
    """Slope and intercept. A slope of 0 means that there is no scale, also no intercept."""
    slope, intercept = float(head["scl_slope"]), float(head["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        return 1.0, 0.0
    if not np.isfinite(intercept):
        raise Refused("bad_header")
    return slope, intercept


def dtype(head: Any) -> np.dtype[Any]:
    """Of the stored voxels. Raises Refused for colours and complex numbers."""
    from nibabel.spatialimages import HeaderDataError

    try:
        kind: np.dtype[Any] = np.dtype(head.get_data_dtype())
    except (HeaderDataError, KeyError) as error:
        raise Refused("unknown_type") from error
    if kind.kind not in "iuf" or kind.itemsize > 8:
        raise Refused("unknown_type")
    return kind


def geometry(start: bytes) -> dict[str, str]:
    """The bytes that a mask repeats, as hexadecimal digits; first the byte order."""
    layout, order = _known(start)
    return {layout.name: (order.encode() + b"".join(start[a:b] for a, b in layout.geometry)).hex()}


def mask_file(mask: NDArray[np.uint8], grid: Grid) -> bytes:
    """A gzipped NIfTI of slices with small whole numbers, on the grid of the file they are of."""
    array = np.ascontiguousarray(grid.back(mask))
    for layout in (_ONE, _TWO):
        if known := bytes.fromhex(grid.header.get(layout.name, "")):
            head = _repeated(known, layout)
            break
    else:
        head = _new_header(grid)
    return gzip.compress(head + b"\0" * 4 + array.tobytes(), compresslevel=6, mtime=0)


def _repeated(known: bytes, layout: Layout) -> bytes:
    order = known[:1].decode()
    head, at = bytearray(layout.header_bytes), 1
    for start, end in layout.geometry:
        head[start:end] = known[at : at + end - start]
        at += end - start
    # One array only, whatever the file had.
    dim, kind = layout.dim
    sides = list(struct.unpack_from(f"{order}{kind}", head, dim))
    struct.pack_into(f"{order}{kind}", head, dim, min(sides[0], 3), *sides[1:4], 1, 1, 1, 1)
    return _finished(head, order, layout)


def _new_header(grid: Grid) -> bytes:
    """A header of our own for a grid that came as DICOM, NRRD or pictures."""
    head = bytearray(_ONE.header_bytes)
    k, j, i = grid.shape
    ras = _TO_RAS @ grid.affine
    struct.pack_into("<8h", head, 40, 3, i, j, k, 1, 1, 1, 1)
    sides = np.linalg.norm(ras[:3, :3], axis=0)
    quaternion = _quaternion(ras[:3, :3] / sides)
    struct.pack_into("<8f", head, 76, quaternion[3] if quaternion else 1, *sides, 1, 1, 1, 1)
    head[123] = _MILLIMETRES
    code = _SCANNER if grid.is_placed else 0
    struct.pack_into("<2h", head, 252, code if quaternion else 0, code)
    if quaternion:
        struct.pack_into("<6f", head, 256, *quaternion[:3], *ras[:3, 3])
    struct.pack_into("<12f", head, 280, *ras[:3].reshape(-1))
    return _finished(head, "<", _ONE)


def _finished(head: bytearray, order: str, layout: Layout) -> bytes:
    at, kind = layout.scale
    struct.pack_into(f"{order}i", head, 0, layout.header_bytes)
    struct.pack_into(f"{order}2h", head, layout.kind_at, _UINT8, 8)
    struct.pack_into(f"{order}{kind}", head, at, layout.start, 1, 0)
    head[layout.magic_at : layout.magic_at + len(layout.magic)] = layout.magic
    return bytes(head)


def _quaternion(rotation: NDArray[np.float64]) -> tuple[float, float, float, float] | None:
    """b, c, d and the sign of the third axis; None for a grid whose axes are not at right angles.

    Of a rotation, the eigenvector of the largest eigenvalue (Bar-Itzhack, 2000).
    """
    sign = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    r = rotation @ np.diag([1, 1, sign])
    if np.abs(r.T @ r - np.eye(3)).max() > 1e-4:
        return None
    table = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
            [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], 0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)],
        ]
    )
    values, vectors = np.linalg.eigh(table / 3)
    b, c, d, a = vectors[:, int(values.argmax())]
    turned = -1.0 if a < 0 else 1.0
    return float(b * turned), float(c * turned), float(d * turned), sign
