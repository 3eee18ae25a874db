"""What a TIFF says about its colours, and EXIF, which is a TIFF. What is broken is not stated."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.imaging.cms.lcms import Space
from tasks.imaging.cms.statement import Stated

_MAX_ENTRIES = 1024
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 13: 4, 16: 8, 18: 8}
"""Bytes of a value by its type; a tag of another type is left out."""
_PHOTOMETRIC, _ICC, _EXIF = 262, 34675, 34665
_COLOUR_SPACE, _INTEROP, _INTEROP_INDEX = 0xA001, 0xA005, 1
_SRGB, _ADOBE_RGB, _ADOBE = 1, 2, b"R03"
"""Colour spaces of EXIF, the second as some cameras write it, and the index of DCF 2.0."""
_KINDS: dict[int, Space] = {0: "GRAY", 1: "GRAY", 5: "CMYK"}


@dataclass(frozen=True)
class _Tiff:
    """A TIFF or a BigTIFF in bytes."""

    data: bytes
    order: str
    """"<" or ">", as the module struct has it."""
    first: int
    """Where the first directory is."""
    is_big: bool

    def tags(self, position: int) -> Mapping[int, bytes]:
        """Tag -> its values; empty if there is no directory at the position."""
        count_form, entry = self.order + "HQ"[self.is_big], self.order + "HH" + "IQ"[self.is_big]
        place_bytes = 8 if self.is_big else 4
        start, step = position + struct.calcsize(count_form), struct.calcsize(entry) + place_bytes
        if position <= 0 or start > len(self.data):
            return {}
        (count,) = struct.unpack_from(count_form, self.data, position)
        count = min(count, _MAX_ENTRIES, (len(self.data) - start) // step)
        tags: dict[int, bytes] = {}
        for at in range(start, start + count * step, step):
            tag, kind, values = struct.unpack_from(entry, self.data, at)
            size = values * _SIZES.get(kind, 0)
            place = at + step - place_bytes
            if size > place_bytes:
                place = self.whole(self.data[place : place + place_bytes])
            if size and place + size <= len(self.data):
                tags.setdefault(tag, self.data[place : place + size])
        return tags

    def whole(self, value: bytes) -> int:
        """A whole number; 0 if the bytes are none."""
        return int.from_bytes(value, "little" if self.order == "<" else "big")


def read(data: bytes) -> Stated:
    """The statements of the first picture in a TIFF."""
    tiff = _open(data)
    if tiff is None:
        return Stated()
    tags = tiff.tags(tiff.first)
    kind = _KINDS.get(tiff.whole(tags.get(_PHOTOMETRIC, b"")), "RGB")
    return Stated(kind, (tags[_ICC],) if _ICC in tags else (), exif=data)


def is_adobe_rgb(data: bytes) -> bool:
    """Whether EXIF says Adobe RGB: by its colour space, or by an index where that is not sRGB."""
    tiff = _open(data)
    if tiff is None:
        return False
    camera = tiff.tags(tiff.whole(tiff.tags(tiff.first).get(_EXIF, b"")))
    interop = tiff.tags(tiff.whole(camera.get(_INTEROP, b"")))
    space = tiff.whole(camera.get(_COLOUR_SPACE, b""))
    is_adobe = interop.get(_INTEROP_INDEX, b"").startswith(_ADOBE)
    return space == _ADOBE_RGB or is_adobe and space != _SRGB


def _open(data: bytes) -> _Tiff | None:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return None
    magic: Any = struct.unpack_from(order + "H", data, 2)[0]
    if magic == 42:
        return _Tiff(data, order, struct.unpack_from(order + "I", data, 4)[0], False)
    if magic == 43:
        return _Tiff(data, order, struct.unpack_from(order + "Q", data, 8)[0], True)
    return None
