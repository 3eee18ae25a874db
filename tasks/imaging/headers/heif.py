"""Reads an HEIF's header: the picture that it shows, how it is tiled, cropped and turned."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from tasks.errors import BadInput
from tasks.imaging.header import Header, Limits, above, broken, unsupported
from tasks.imaging.headers import isobmff
from tasks.imaging.headers.heif_items import Box, Items, items_of, numbers

BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"}
_HEVC, _GRID = b"hvc1", b"grid"
_CODINGS = {b"av01": "AV1", b"avc1": "H.264", b"jpeg": "JPEG", b"j2k1": "JPEG 2000", b"vvc1": "VVC",
            b"unci": "no", b"iovl": "overlaid", b"iden": "derived"}  # fmt: skip
_ALPHA_NAMES = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
_MAX_TILES = 4096
_SAMPLES = (8, 12, 16, 24)
"""Bits per pixel by the format of chroma: none, 4:2:0, 4:2:2, 4:4:4."""

_UPRIGHT = {
    ((0, 1), (2, 3)): 1, ((1, 0), (3, 2)): 2, ((3, 2), (1, 0)): 3, ((2, 3), (0, 1)): 4,
    ((0, 2), (1, 3)): 5, ((2, 0), (3, 1)): 6, ((3, 1), (2, 0)): 7, ((1, 3), (0, 2)): 8,
}  # fmt: skip
"""What becomes of ((0, 1), (2, 3)) -> EXIF's orientation that asks for the same."""


@dataclass(frozen=True)
class Coding:
    """How one tile is coded in HEVC."""

    parameters: bytes
    """The parameter sets, each behind a start code, as decoders take them."""
    length_bytes: int
    """Of the number before each unit of a tile."""
    bits: int
    chroma: int
    """0: grey, 1: 4:2:0, 2: 4:2:2, 3: 4:4:4."""


@dataclass(frozen=True)
class Plane:
    """A picture, or the alpha of one: equal tiles, row by row."""

    height: int
    """What the tiles beyond it show is cut off."""
    width: int
    rows: int
    columns: int
    tiles: Sequence[int]
    """Items."""
    tile_height: int
    tile_width: int
    coded: tuple[int, int]
    """(height, width) of a tile as coded; what is beyond its size is cut off."""
    coding: Coding
    nclx: tuple[int, int, int, int] | None
    """Colour primaries, transfer, matrix, and whether the range is full."""


@dataclass(frozen=True)
class Shown:
    """The picture that an HEIF shows."""

    plane: Plane
    alpha: Plane | None
    is_premultiplied: bool
    crop: tuple[int, int, int, int]
    """(top, left, height, width), before it is turned."""
    orientation: int
    """EXIF's 1..8, by the container; EXIF in an HEIF repeats it and is not applied."""
    profile: bytes
    """ICC; empty without."""
    items: Items


def read(data: bytes, limits: Limits, most_parts: int) -> Header:
    """The header of an ISO file with an HEIF brand. Raises BadInput."""
    kinds = {kind for kind, _, _ in isobmff.boxes(data, 0, len(data))}
    if b"meta" not in kinds:
        raise unsupported("An HEIF with a film only") if b"moov" in kinds else _no_picture()
    if most_parts < limits.max_segments:
        # A phone's photo has hundreds of items: too many to walk through where others wait.
        return Header("heif", 0, 0, is_complete=False)
    shown = picture_of(data, limits)
    plane, (_, _, height, width) = shown.plane, shown.crop
    return Header(
        "heif",
        width,
        height,
        plane.coding.bits,
        3 + (shown.alpha is not None),
        animated=_pictures(shown.items) > 1,
        held_bits=_held_bits(plane) + (_held_bits(shown.alpha) if shown.alpha else 0),
    )


def picture_of(data: bytes, limits: Limits = Limits()) -> Shown:  # noqa: B008 - frozen
    """The primary picture. Raises BadInput, or struct.error or IndexError if it is cut short."""
    items = items_of(data, limits)
    plane = _plane(data, items, items.primary)
    crop, orientation = _transforms(data, items, plane)
    mask = _alpha_of(data, items)
    is_premultiplied = mask is not None and mask in items.references.get(
        (b"prem", items.primary), ()
    )
    profiles = (_profile(data, box) for box in items.properties_of(items.primary, b"colr"))
    return Shown(
        plane,
        None if mask is None else _plane(data, items, mask),
        is_premultiplied,
        crop,
        orientation,
        next(filter(None, profiles), b""),
        items,
    )


def _no_picture() -> BadInput:
    return broken("the HEIF has no picture")


def _plane(data: bytes, items: Items, item: int) -> Plane:
    kind = items.kinds.get(item, b"")
    if kind == _HEVC:
        width, height = _size(data, items, item)
        coding = _coding(data, items, item)
        size = height, width
        return Plane(*size, 1, 1, (item,), *size, size, coding, _nclx(data, items, item))
    if not kind:
        raise broken("the HEIF's main picture is missing")
    if kind != _GRID:
        raise unsupported(f"An HEIF with {_CODINGS.get(kind, 'unknown')} coding")
    grid = items.bytes_of(item, data)
    rows, columns, wide = grid[2] + 1, grid[3] + 1, 4 if grid[1] & 1 else 2
    width, height = (int.from_bytes(grid[i : i + wide], "big") for i in (4, 4 + wide))
    tiles = items.references.get((b"dimg", item), ())
    if len(tiles) != rows * columns or len(grid) < 4 + 2 * wide:
        raise broken("the HEIF's grid is not full")
    if len(tiles) > _MAX_TILES:
        raise above(f"The HEIF has {len(tiles):,} tiles", f"{_MAX_TILES:,}", "too_many_tiles")
    if any(items.kinds.get(tile) != _HEVC for tile in tiles):
        raise unsupported("An HEIF whose tiles are not coded in HEVC")
    tile_height, tile_width, coded = _tile_size(data, items, tiles[0])
    if tile_width * columns < width or tile_height * rows < height or not tile_width * tile_height:
        raise broken("the HEIF's tiles do not cover its picture")
    nclx = _nclx(data, items, item) or _nclx(data, items, tiles[0])
    coding = _coding(data, items, tiles[0])
    return Plane(height, width, rows, columns, tiles, tile_height, tile_width, coded, coding, nclx)


def _tile_size(data: bytes, items: Items, tile: int) -> tuple[int, int, tuple[int, int]]:
    """(height, width, size as coded) of a tile, which may be cropped at its right and bottom."""
    width, height = _size(data, items, tile)
    for box in items.properties_of(tile, b"clap"):
        top, left, rows, columns = _crop(data, box, height, width)
        if top or left:
            raise unsupported("An HEIF with such tiles")
        return rows, columns, (height, width)
    return height, width, (height, width)


def _size(data: bytes, items: Items, item: int) -> tuple[int, int]:
    """(width, height)."""
    for box in items.properties_of(item, b"ispe"):
        width, height = numbers(data, box, "II", 4)
        return width, height
    raise broken("the HEIF states no size")


def _coding(data: bytes, items: Items, item: int) -> Coding:
    boxes = items.properties_of(item, b"hvcC")
    if not boxes or boxes[0][2] - boxes[0][1] < 23:
        raise broken("the HEIF does not say how it is coded")
    body = data[boxes[0][1] : boxes[0][2]]
    parameters, position = [], 23
    for _ in range(body[22]):
        count = int.from_bytes(body[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            size = int.from_bytes(body[position : position + 2], "big")
            position += 2 + size
            if position > len(body):
                raise broken("the HEIF's parameters are cut short")
            parameters.append(b"\0\0\0\1" + body[position - size : position])
    bits = 8 + max(body[17] & 7, body[18] & 7)
    return Coding(b"".join(parameters), (body[21] & 3) + 1, bits, body[16] & 3)


def _nclx(data: bytes, items: Items, item: int) -> tuple[int, int, int, int] | None:
    for box in items.properties_of(item, b"colr"):
        if data[box[1] : box[1] + 4] == b"nclx":
            primaries, transfer, matrix, flags = numbers(data, box, "HHHB", 4)
            return primaries, transfer, matrix, flags >> 7
    return None


def _profile(data: bytes, box: Box) -> bytes:
    kind = data[box[1] : box[1] + 4]
    return data[box[1] + 4 : box[2]] if kind in (b"prof", b"rICC") else b""


def _alpha_of(data: bytes, items: Items) -> int | None:
    """The item that is the alpha of the primary picture."""
    for (kind, item), targets in items.references.items():
        if kind != b"auxl" or items.primary not in targets:
            continue
        for box in items.properties_of(item, b"auxC"):
            if data[box[1] + 4 : box[2]].split(b"\0")[0] in _ALPHA_NAMES:
                return item
    return None


def _transforms(data: bytes, items: Items, plane: Plane) -> tuple[tuple[int, int, int, int], int]:
    """(the part that is shown, EXIF's orientation) by the container's own properties."""
    crop = 0, 0, plane.height, plane.width
    turned: tuple[tuple[int, ...], ...] = ((0, 1), (2, 3))
    for box in items.properties.get(items.primary, ()):
        if box[0] == b"clap":
            crop = _crop(data, box, plane.height, plane.width)
        elif box[0] == b"irot":
            for _ in range(data[box[1]] & 3):
                turned = tuple(zip(*turned, strict=True))[::-1]
        elif box[0] == b"imir":
            is_across = data[box[1]] & 1
            turned = tuple(row[::-1] for row in turned) if is_across else turned[::-1]
    return crop, _UPRIGHT[turned]  # type: ignore[index]  # 2 x 2 stays 2 x 2


def _crop(data: bytes, box: Box, height: int, width: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of what is shown; all of it if the crop does not fit."""
    values = list(numbers(data, box, "IIIIiIiI"))
    if not all(values[1::2]):
        raise broken("the HEIF's crop is wrong")
    columns, rows, right, down = (Fraction(values[i], values[i + 1]) for i in range(0, 8, 2))
    left, top = (width - columns) / 2 + right, (height - rows) / 2 + down
    part = int(top), int(left), int(rows), int(columns)
    fits = min(part) >= 0 and top + rows <= height and left + columns <= width
    return part if fits and rows >= 1 and columns >= 1 else (0, 0, height, width)


def _pictures(items: Items) -> int:
    """How many pictures stand on their own: no tiles, no thumbnails, no alpha, no depth."""
    parts = {tile for (kind, _), to in items.references.items() if kind == b"dimg" for tile in to}
    extras = {item for kind, item in items.references if kind in (b"thmb", b"auxl")}
    shown = {item for item, kind in items.kinds.items() if kind in (_HEVC, _GRID)}
    return len(shown - parts - extras - items.hidden)


def _held_bits(plane: Plane) -> int:
    """Of a row of tiles, spread over the picture, and of what is made."""
    coding = plane.coding
    per_pixel = _SAMPLES[coding.chroma] * (2 if coding.bits > 8 else 1)
    held = plane.coded[0] * plane.coded[1] * plane.columns
    made = 24 if coding.bits > 8 else 12
    return -(-per_pixel * held // max(1, plane.width * plane.height)) + made
