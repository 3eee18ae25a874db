"""Reads a TIFF's header: the tags of its first page. Pixels and other pages are never looked at.

Tags are those of TIFF 6.0; BigTIFF differs only in the sizes of its fields.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.imaging.header import Header, Limits, above, broken, too_many_parts, unsupported

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _ORIENTATION, _SAMPLES, _STRIP_ROWS, _PLANAR = 273, 274, 277, 278, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _SUB_PAGES, _INKS = 322, 323, 324, 330, 332
_EXTRA, _SAMPLE_FORMAT, _KIND, _EXIF, _DNG = 338, 339, 254, 34665, 50706
_KNOWN = {
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _ORIENTATION, _SAMPLES,
    _STRIP_ROWS, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _SUB_PAGES, _INKS, _EXTRA,
    _SAMPLE_FORMAT, _KIND, _EXIF, _DNG,
}  # fmt: skip
_VALUES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""Type of a tag -> how one of its values is packed; other types are not of interest."""
_SHORT_OR_LONG = (3, 4)
_FEW_VALUES = 8
"""Values of a tag that are read."""
_REDUCED = 1
"""Bit of `_KIND`: the page is a smaller copy of another one."""
_BIG = 43

WHITE_IS_ZERO, GREY, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
_CHANNELS = {WHITE_IS_ZERO: 1, GREY: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
"""What the values mean -> channels, without alpha and other extra ones."""
_COLOUR_NAMES = {WHITE_IS_ZERO: "grey", GREY: "grey", RGB: "RGB", PALETTE: "a palette",
                 CMYK: "CMYK", YCBCR: "YCbCr"}  # fmt: skip
_OTHER_COLOURS = {4: "transparency masks", 8: "Lab colours", 9: "Lab colours", 10: "Lab colours",
                  32803: "a camera's raw data", 32844: "LogL", 32845: "LogLuv",
                  34892: "a camera's raw data"}  # fmt: skip
_FEW_BITS = (WHITE_IS_ZERO, GREY, PALETTE)
_DEPTHS = {1: _FEW_BITS, 2: _FEW_BITS, 4: _FEW_BITS, 8: (*_FEW_BITS, RGB, CMYK, YCBCR),
           16: (WHITE_IS_ZERO, GREY, RGB, CMYK)}  # fmt: skip
JPEG = 7
_COMPRESSIONS = {1, 2, 3, 4, 5, JPEG, 8, 32773, 32946, 34925, 50000}
"""None, three for fax, LZW, JPEG, Deflate, PackBits, Deflate, LZMA, Zstandard."""
_OTHER_COMPRESSIONS = {6: "old JPEG", 33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000",
                       34887: "LERC", 34892: "lossy raw data", 50001: "WebP",
                       50002: "JPEG XL"}  # fmt: skip
_FAX = {2, 3, 4}
_MAX_TILE_BYTES = 64 * 2**20
"""Of a row of tiles, decoded; of a strip only a few rows are decoded at a time."""
_MAX_CHANNELS = 8
_NO_ALPHA, _ASSOCIATED, _STRAIGHT = 0, 1, 2

Tags = Mapping[int, Sequence[int]]


@dataclass(frozen=True)
class Page:
    """The tags of one page that say how it is decoded."""

    width: int
    height: int
    bits: int
    channels: int
    """Alpha and other extra channels included."""
    photometric: int
    compression: int
    is_planar: bool
    """Whether each channel is stored as a picture of its own."""
    alpha: int | None
    """Index of the alpha channel."""
    is_premultiplied: bool
    orientation: int
    tile: tuple[int, int] | None
    """(height, width) of a tile; None if the page is made of strips."""

    @property
    def colours(self) -> int:
        """Channels that are colours."""
        return _CHANNELS[self.photometric]


def read(data: bytes, limits: Limits, most_parts: int) -> Header:
    """The header of a file that starts as a TIFF does. Raises BadInput."""
    reader = _Reader(data)
    tags, following = reader.tags(reader.first, most_parts)
    if tags is None:
        if most_parts >= limits.max_segments:
            raise too_many_parts("tags", limits)
        return Header("tiff", 0, 0, is_complete=False)
    page = _page(tags)
    return Header(
        "tiff",
        page.width,
        page.height,
        page.bits,
        page.colours + (page.alpha is not None),
        animated=reader.has_page(following),
    )


def first_page(data: bytes) -> Page:
    """The first page of a TIFF that `read` has accepted."""
    reader = _Reader(data)
    return _page(reader.tags(reader.first, len(data))[0] or {})


class _Reader:
    """Reads tags in the byte order and the sizes of one file."""

    def __init__(self, data: bytes) -> None:
        self._data, self._order = data, "<" if data[:2] == b"II" else ">"
        is_big = self._number("H", 2) == _BIG
        self._count, self._offset = ("Q", "Q") if is_big else ("H", "I")
        self._entry = struct.Struct(self._order + ("HHQ8s" if is_big else "HHI4s"))
        self.first = self._number(self._offset, 8 if is_big else 4)

    def tags(self, start: int, most: int) -> tuple[Tags | None, int]:
        """The known tags of the page at `start`, None if there are too many to look at, and where
        the next page starts (0: nowhere)."""
        count = self._number(self._count, start)
        if count > most:
            return None, 0
        start += struct.calcsize("=" + self._count)
        end = start + count * self._entry.size
        entries = self._entry.iter_unpack(self._data[start:end])
        following = self._number(self._offset, end)
        found = {entry[0]: self._values(*entry[1:]) for entry in entries if entry[0] in _KNOWN}
        return found, following

    def has_page(self, start: int) -> bool:
        """Whether a page starts there that is more than a smaller copy of the first."""
        if not start:
            return False
        try:
            tags = self.tags(start, _MAX_CHANNELS * 8)[0] or {}
        except (IndexError, ValueError, struct.error):
            return False  # whatever is there, the first page is whole
        return _WIDTH in tags and not tags.get(_KIND, (0,))[0] & _REDUCED

    def _values(self, kind: int, length: int, inline: bytes) -> Sequence[int]:
        """The first few values of a tag; none if they are no whole numbers."""
        if kind not in _VALUES or not length:
            return ()
        if length == 1 and kind in _SHORT_OR_LONG:
            return struct.unpack_from(self._order + _VALUES[kind], inline)
        form = f"{self._order}{min(length, _FEW_VALUES)}{_VALUES[kind]}"
        if length * struct.calcsize("=" + _VALUES[kind]) <= len(inline):
            return struct.unpack_from(form, inline)
        at = struct.unpack(self._order + self._offset, inline)[0]
        return struct.unpack_from(form, self._data, at)

    def _number(self, code: str, position: int) -> int:
        return int(struct.unpack_from(self._order + code, self._data, position)[0])


def _page(tags: Tags) -> Page:
    """The page that these tags describe. Raises BadInput if it cannot be decoded."""
    _check_kind(tags)
    photometric, compression = _one(tags, _PHOTOMETRIC, GREY), _one(tags, _COMPRESSION, 1)
    bits, samples = tags.get(_BITS) or (1,), _one(tags, _SAMPLES, 1)
    _check_coding(photometric, compression, bits[0])
    if set(bits) != {bits[0]} or photometric not in _DEPTHS.get(bits[0], ()):
        depths = ", ".join(map(str, bits))
        raise unsupported(f"A TIFF of {depths} bits in {_name(photometric)}")
    colours = _CHANNELS[photometric]
    if not colours <= samples <= _MAX_CHANNELS:
        raise unsupported(f"A TIFF of {samples} channels in {_name(photometric)}")
    extra = (tuple(tags.get(_EXTRA, ())) + (_NO_ALPHA,) * samples)[: samples - colours]
    alphas = [i for i, kind in enumerate(extra) if kind in (_ASSOCIATED, _STRAIGHT)]
    page = Page(
        _one(tags, _WIDTH, 0), _one(tags, _HEIGHT, 0), bits[0], samples, photometric, compression,
        samples > 1 and _one(tags, _PLANAR, 1) == 2, colours + alphas[0] if alphas else None,
        bool(alphas) and extra[alphas[0]] == _ASSOCIATED, _one(tags, _ORIENTATION, 1),
        _tile(tags),
    )  # fmt: skip
    _check_tile(page)
    return page


def _check_kind(tags: Tags) -> None:
    """Refuse what is a TIFF by its form only, and values that are no plain numbers."""
    is_preview = _one(tags, _KIND, 0) & _REDUCED
    if _DNG in tags or (is_preview and _SUB_PAGES in tags):
        raise unsupported("A raw photo of a camera")
    if not (tags.get(_STRIPS) or tags.get(_TILES)):
        raise broken("the TIFF has no pixels")
    if _one(tags, _SAMPLE_FORMAT, 1) not in (1, 4):
        raise unsupported("A TIFF with floating-point or signed values")
    if _one(tags, _INKS, 1) != 1:
        raise unsupported("A TIFF with inks other than CMYK")


def _check_coding(photometric: int, compression: int, bits: int) -> None:
    if photometric in _OTHER_COLOURS:
        raise unsupported(f"A TIFF with {_OTHER_COLOURS[photometric]}")
    if compression not in _COMPRESSIONS:
        name = _OTHER_COMPRESSIONS.get(compression, f"number {compression}")
        raise unsupported(f"A TIFF with the compression {name}")
    if compression in _FAX and bits != 1:
        raise broken("fax coding has one bit a pixel")
    if photometric == YCBCR and compression != JPEG:
        raise unsupported("A TIFF with YCbCr colours outside JPEG")
    if compression == JPEG and (bits != 8 or photometric == PALETTE):
        raise unsupported("A TIFF with such a JPEG inside")


def _tile(tags: Tags) -> tuple[int, int] | None:
    if not tags.get(_TILES):
        return None
    return _one(tags, _TILE_HEIGHT, 0), _one(tags, _TILE_WIDTH, 0)


def _check_tile(page: Page) -> None:
    if page.tile is None:
        return
    height, width = page.tile
    if not height or not width:
        raise broken("the TIFF's tiles have no size")
    across = -(-page.width // width) * width
    if height * across * page.channels * page.bits > 8 * _MAX_TILE_BYTES:
        most = f"{_MAX_TILE_BYTES >> 20} MiB in a row of them"
        raise above("The TIFF's tiles are too large", most, "tiles_too_large")


def _name(photometric: int) -> str:
    return _COLOUR_NAMES.get(photometric, f"colours of kind {photometric}")


def _one(tags: Tags, number: int, default: int) -> int:
    values = tags.get(number)
    return values[0] if values else default
