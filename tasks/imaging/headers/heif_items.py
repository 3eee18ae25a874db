"""Finds the items of an HEIF: pictures and tiles, their properties and their bytes.

ISO/IEC 23008-12 and, for the boxes, 14496-12. Nothing is decoded. What is read is bounded by the
number of boxes and entries, never by what they claim.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.imaging.header import Limits, broken, too_many_parts
from tasks.imaging.headers import isobmff

Box = tuple[bytes, int, int]
"""(kind, start of its body, end)."""

_CHILDREN_AT = 4
"""Behind a full box's version and flags."""
_IN_FILE, _IN_META = 0, 1
"""Where the bytes of an item lie."""
_HIDDEN = 1


@dataclass(frozen=True)
class Items:
    """The items of one file."""

    primary: int
    kinds: Mapping[int, bytes]
    """Item -> its kind; hidden ones as well."""
    hidden: frozenset[int]
    extents: Mapping[int, Sequence[slice]]
    """Item -> where its bytes lie in the file."""
    properties: Mapping[int, Sequence[Box]]
    """Item -> its properties, in the order in which they apply."""
    references: Mapping[tuple[bytes, int], Sequence[int]]
    """(kind, from) -> to."""

    def properties_of(self, item: int, kind: bytes) -> list[Box]:
        """The properties of one kind."""
        return [box for box in self.properties.get(item, ()) if box[0] == kind]

    def bytes_of(self, item: int, data: bytes) -> bytes:
        """The bytes of an item. Raises BadInput if they are not all there."""
        extents = self.extents.get(item)
        if not extents:
            raise broken("a picture of the HEIF has no data")
        if any(extent.stop > len(data) for extent in extents):
            raise broken("the HEIF is cut short")
        return b"".join(data[extent] for extent in extents)


def items_of(data: bytes, limits: Limits) -> Items:
    """The items of an HEIF that has a box `meta`.

    Raises BadInput, or struct.error or IndexError if it is cut short.
    """
    meta = next(box for box in isobmff.boxes(data, 0, len(data)) if box[0] == b"meta")
    inner = isobmff.boxes(data, meta[1] + _CHILDREN_AT, meta[2])
    boxes: dict[bytes, Box] = {}
    for box in inner:
        boxes.setdefault(box[0], box)
    for kind in (b"pitm", b"iinf", b"iprp", b"iloc"):
        if kind not in boxes:
            raise broken(f"the HEIF has no {kind.decode()}")
    kinds, hidden = _kinds(data, boxes[b"iinf"], limits)
    idat = boxes.get(b"idat", (b"idat", 0, 0))
    return Items(
        _primary(data, boxes[b"pitm"]),
        kinds,
        hidden,
        _extents(data, boxes[b"iloc"], idat, limits),
        _properties(data, boxes[b"iprp"], limits),
        _references(data, boxes[b"iref"], limits) if b"iref" in boxes else {},
    )


class _Cursor:
    """Reads big-endian numbers one behind the other, up to an end."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data, self.position, self._end = data, start, end

    def number(self, size: int) -> int:
        """The next `size` bytes."""
        start, self.position = self.position, self.position + size
        if self.position > self._end:
            raise broken("the HEIF is cut short")
        return int.from_bytes(self._data[start : self.position], "big")

    def kind(self) -> bytes:
        """Four characters."""
        return self.number(4).to_bytes(4, "big")

    def full_box(self) -> tuple[int, int]:
        """(version, flags)."""
        both = self.number(4)
        return both >> 24, both & 0xFFFFFF


def _primary(data: bytes, box: Box) -> int:
    cursor = _Cursor(data, *box[1:])
    version, _ = cursor.full_box()
    return cursor.number(4 if version else 2)


def _kinds(data: bytes, box: Box, limits: Limits) -> tuple[dict[int, bytes], frozenset[int]]:
    cursor = _Cursor(data, *box[1:])
    version, _ = cursor.full_box()
    count = _checked(cursor.number(4 if version else 2), limits)
    kinds: dict[int, bytes] = {}
    hidden = set()
    for _, start, end in isobmff.boxes(data, cursor.position, box[2], count + 1):
        entry = _Cursor(data, start, end)
        version, flags = entry.full_box()
        if version < 2:
            continue
        item = entry.number(4 if version > 2 else 2)
        entry.number(2)  # protection
        kinds[item] = entry.kind()
        if flags & _HIDDEN:
            hidden.add(item)
    return kinds, frozenset(hidden)


def _extents(data: bytes, box: Box, idat: Box, limits: Limits) -> dict[int, Sequence[slice]]:
    cursor = _Cursor(data, *box[1:])
    version, _ = cursor.full_box()
    sizes = cursor.number(2)
    offset_size, length_size = sizes >> 12, sizes >> 8 & 15
    base_size, index_size = sizes >> 4 & 15, sizes & 15 if version else 0
    found: dict[int, Sequence[slice]] = {}
    total = 0
    for _ in range(_checked(cursor.number(4 if version == 2 else 2), limits)):
        item = cursor.number(4 if version == 2 else 2)
        method = cursor.number(2) & 15 if version else _IN_FILE
        cursor.number(2)  # data reference
        base = cursor.number(base_size) + (idat[1] if method == _IN_META else 0)
        count = cursor.number(2)
        total = _checked(total + count, limits)
        slices = []
        for _ in range(count):
            cursor.number(index_size)
            start = base + cursor.number(offset_size)
            slices.append(slice(start, start + cursor.number(length_size)))
        if method in (_IN_FILE, _IN_META):
            found[item] = slices
    return found


def _properties(data: bytes, box: Box, limits: Limits) -> dict[int, Sequence[Box]]:
    boxes = list(isobmff.boxes(data, box[1], box[2]))
    container = next((found for found in boxes if found[0] == b"ipco"), None)
    if container is None:
        raise broken("the HEIF has no properties")
    all_properties = list(isobmff.boxes(data, container[1], container[2], limits.max_segments))
    found: dict[int, Sequence[Box]] = {}
    total = 0
    for kind, start, end in boxes:
        if kind != b"ipma":
            continue
        cursor = _Cursor(data, start, end)
        version, flags = cursor.full_box()
        size, mask = (2, 0x7FFF) if flags & 1 else (1, 0x7F)
        for _ in range(_checked(cursor.number(4), limits)):
            item = cursor.number(4 if version else 2)
            indices = [cursor.number(size) & mask for _ in range(cursor.number(1))]
            total = _checked(total + len(indices), limits)
            found[item] = [all_properties[i - 1] for i in indices if 0 < i <= len(all_properties)]
    return found


def _references(data: bytes, box: Box, limits: Limits) -> dict[tuple[bytes, int], Sequence[int]]:
    cursor = _Cursor(data, *box[1:])
    size = 4 if cursor.full_box()[0] else 2
    found: dict[tuple[bytes, int], Sequence[int]] = {}
    total = 0
    for kind, start, end in isobmff.boxes(data, cursor.position, box[2], limits.max_segments):
        entry = _Cursor(data, start, end)
        origin, count = entry.number(size), entry.number(2)
        total = _checked(total + count, limits)
        found[kind, origin] = [entry.number(size) for _ in range(count)]
    return found


def _checked(count: int, limits: Limits) -> int:
    if count > limits.max_segments:
        raise too_many_parts("items", limits)
    return count


def numbers(data: bytes, box: Box, form: str, skip: int = 0) -> Iterator[int]:
    """The fields of a property, by `struct`'s codes, behind its first `skip` bytes."""
    if box[2] - box[1] < skip + struct.calcsize(">" + form):
        raise broken("a property of the HEIF is cut short")
    return iter(struct.unpack_from(">" + form, data, box[1] + skip))
