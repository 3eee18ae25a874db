"""Reads and writes ICC profiles (ICC.1:2022). Standard library and NumPy only.

A profile from outside is never given to LittleCMS as it is: only the tags that say how colours are
to be read are copied, and only if they are of a kind that takes little time.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.imaging.cms.lcms import Space

MAX_BYTES = 8 * 2**20
"""Profiles of presses and printers have up to 4 MiB."""
Matrix = NDArray[np.float64]
_HEADER_BYTES, _MAX_TAGS = 128, 100
_SPACES: dict[bytes, Space] = {b"GRAY": "GRAY", b"RGB ": "RGB", b"CMYK": "CMYK"}
_CLASSES = {b"scnr", b"mntr", b"prtr", b"spac"}
_CURVE, _TABLE = (b"curv", b"para"), (b"mft1", b"mft2", b"mAB ")
_READ: dict[bytes, tuple[bytes, ...]] = {
    **dict.fromkeys((b"rXYZ", b"gXYZ", b"bXYZ", b"wtpt"), (b"XYZ ",)),
    **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC", b"kTRC"), _CURVE),
    **dict.fromkeys((b"A2B0", b"A2B1"), _TABLE),
    b"chad": (b"sf32",),
    b"cicp": (b"cicp",),
}
"""Tag -> the types that it may have. Left out are multi-process elements (D2B0), which LittleCMS
would prefer and which can be chained without end, and all that is for targets or for people."""

D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


@dataclass(frozen=True)
class Profile:
    """What is used of a profile."""

    space: Space
    data: bytes
    """A profile with nothing else in it."""
    has_table: bool
    """Whether it is more than curves and a matrix."""
    is_formula: bool
    """Whether it is a matrix and curves by formula, of which all programs make the same."""
    code_points: tuple[int, int] | None
    """Primaries and transfer of ITU-T H.273, if it states them (`cicp`)."""


def read(data: bytes) -> Profile | None:
    """What is used of a profile from outside; None if it is no profile of a picture."""
    if not _HEADER_BYTES + 4 < len(data) <= MAX_BYTES or data[36:40] != b"acsp":
        return None
    space = space_of(data)
    if space is None or data[12:16] not in _CLASSES:
        return None
    tags = _tags(data)
    cicp = tags.pop(b"cicp", b"")
    if b"A2B0" not in tags and b"A2B1" in tags and not {b"rTRC", b"kTRC"} & tags.keys():
        tags[b"A2B0"] = tags[b"A2B1"]
    if sum(map(len, set(tags.values()))) > MAX_BYTES:
        return None
    points = (cicp[8], cicp[9]) if len(cicp) >= 12 else None
    used = _written(data[:_HEADER_BYTES], tags.items())
    has_table = b"A2B0" in tags
    is_formula = not has_table and not any(_is_sampled(tag) for tag in tags.values())
    return Profile(space, used, has_table, is_formula, points)


def space_of(data: bytes) -> Space | None:
    """What kind of values a profile is for; None if it is one that no picture here has."""
    return _SPACES.get(data[16:20])


def _is_sampled(tag: bytes) -> bool:
    """Whether a tag is a curve by several values."""
    return tag[:4] == b"curv" and int.from_bytes(tag[8:12], "big") > 1


def _tags(data: bytes) -> dict[bytes, bytes]:
    """The tags that are read, by their names."""
    (count,) = struct.unpack_from(">I", data, _HEADER_BYTES)
    tags: dict[bytes, bytes] = {}
    for i in range(min(count, _MAX_TAGS, (len(data) - _HEADER_BYTES - 4) // 12)):
        name, start, size = struct.unpack_from(">4sII", data, _HEADER_BYTES + 4 + 12 * i)
        if name in tags or size < 8 or start + size > len(data):
            continue
        if data[start : start + 4] in _READ.get(name, ()):
            tags[name] = data[start : start + size]
    return tags


def _written(header: bytes, tags: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A profile with the header and the tags; equal ones are stored once."""
    tags = list(tags)
    position = _HEADER_BYTES + 4 + 12 * len(tags)
    places: dict[bytes, int] = {}
    table, body = [struct.pack(">I", len(tags))], []
    for name, value in tags:
        if value not in places:
            places[value] = position
            body.append(value + bytes(-len(value) % 4))
            position += len(body[-1])
        table.append(struct.pack(">4sII", name, places[value], len(value)))
    return struct.pack(">I", position) + header[4:] + b"".join(table + body)


def make(to_xyz: Matrix, curve: bytes, name: str) -> bytes:
    """A display profile from RGB: linear light by `curve`, then XYZ relative to D50 by `to_xyz`."""
    columns = [_xyz(to_xyz[:, i]) for i in range(3)]
    tags = [
        (b"desc", _text(name)),
        (b"cprt", _text("No copyright")),
        (b"wtpt", _xyz(D50)),
        *zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True),
        *((tag, curve) for tag in (b"rTRC", b"gTRC", b"bTRC")),
    ]
    head = struct.pack(">I4sI4s4s4s", 0, bytes(4), 0x04300000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _xyz(D50)[8:]
    return _written(head.ljust(_HEADER_BYTES, b"\0"), tags)


def parametric(kind: int, *numbers: float) -> bytes:
    """A curve by formula: parametricCurveType, section 10.18."""
    return struct.pack(">4s4xHxx", b"para", kind) + _fixed(numbers)


def sampled(values: Sequence[float] | NDArray[np.float64]) -> bytes:
    """A curve by its values, 0..1, at even steps: curveType, section 10.6."""
    steps = np.rint(np.clip(values, 0, 1) * 65535).astype(">u2")
    return b"curv" + struct.pack(">4xI", len(steps)) + bytes(steps.data)


def to_d50(primaries: Sequence[float], white: Sequence[float]) -> Matrix | None:
    """Linear RGB -> XYZ relative to D50, from x and y of red, green, blue, and of white.

    None if there is no such space. The white is adapted by the Bradford method, ICC.1:2022 annex E.
    """
    if white[1] <= 0:
        return None
    columns = np.array([[x, y, 1 - x - y] for x, y in np.reshape(primaries, (3, 2))]).T
    light = np.array([white[0], white[1], 1 - white[0] - white[1]]) / white[1]
    if abs(np.linalg.det(columns)) < 1e-4:
        return None
    matrix = columns * np.linalg.solve(columns, light)
    ours, d50 = _BRADFORD @ light, _BRADFORD @ np.array(D50)
    if min(ours) <= 0:
        return None
    adapted: Matrix = np.linalg.inv(_BRADFORD) @ np.diag(d50 / ours) @ _BRADFORD @ matrix
    return adapted if abs(adapted).max() < 100 else None


def _xyz(values: Sequence[float] | NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)


def _fixed(values: Iterable[float]) -> bytes:
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return struct.pack(">4s4xII2s2sII", b"mluc", 1, 12, b"en", b"US", len(encoded), 28) + encoded
