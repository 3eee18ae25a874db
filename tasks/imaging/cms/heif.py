"""What an AVIF or a HEIF says about its colours: boxes of ISO/IEC 14496-12 and 23008-12."""

import struct
from collections.abc import Iterator, Sequence

from tasks.imaging.cms import spaces
from tasks.imaging.cms.statement import Stated, Statement

Box = tuple[bytes, bytes]
"""Its kind and what is in it."""
_MAX_BOXES, _MAX_ASSOCIATIONS = 4096, 65_536
_GAIN_MAPS = (
    b"urn:com:apple:photo:2020:aux:hdrgainmap",
    b"urn:iso:std:iso:ts:21496:-1",
    b"tmap",
)
"""How Apple and ISO 21496-1 mark a gain map."""
_SAMPLES = dict.fromkeys((b"av01", b"hvc1", b"hev1"), 78)
_TRACK = {b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"stsd": 8, **_SAMPLES}
"""Boxes on the way from a movie to what its pictures are, and the bytes before the boxes inside."""


def read(data: bytes) -> Stated:
    """The statements about the primary picture; of a sequence without one, about its track."""
    properties: list[Box] = []
    gain_map = False
    for kind, body in _boxes(data):
        if kind == b"meta" and not properties:
            properties = _of_primary(dict(_boxes(body[4:])))
            gain_map = any(name in body for name in _GAIN_MAPS)
        elif kind == b"moov" and not properties:
            properties = list(_of_track(body))
    colours = [body for kind, body in properties if kind == b"colr"]
    # The profile counts: nclx then says only how RGB was coded (23008-12, 6.5.5).
    profiles: list[Statement] = [c[4:] for c in colours if c[:4] in (b"prof", b"rICC")]
    points = [c for c in colours if c[:4] == b"nclx" and len(c) >= 10]
    statements = *profiles[:1], *(_code_points(c, properties) for c in points[:1])
    return Stated("GRAY" if _is_grey(properties) else "RGB", statements, gain_map=gain_map)


def _boxes(data: bytes, position: int = 0) -> Iterator[Box]:
    """The boxes from the position on, without those inside them."""
    for _ in range(_MAX_BOXES):
        if position + 8 > len(data):
            return
        size, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if size == 1 and position + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = position + size if size else len(data)
        if end < start or end > len(data):
            return
        # Pixels are not copied.
        yield kind, b"" if kind == b"mdat" else data[start:end]
        position = end


def _of_primary(meta: dict[bytes, bytes]) -> list[Box]:
    """The properties of the primary item; of its first tile, if it has no colours of its own."""
    if not {b"pitm", b"iprp"} <= meta.keys():
        return []
    parts = dict(_boxes(meta[b"iprp"]))
    container = list(_boxes(parts.get(b"ipco", b"")))
    indices = _associations(parts.get(b"ipma", b""))
    primary = int.from_bytes(meta[b"pitm"][4 : 8 if meta[b"pitm"][:1] == b"\1" else 6], "big")
    own = _picked(container, indices.get(primary, []))
    if any(kind == b"colr" for kind, _ in own):
        return own
    return own + _picked(container, indices.get(_first_tile(meta, primary), []))


def _picked(container: Sequence[Box], indices: Sequence[int]) -> list[Box]:
    return [container[i - 1] for i in indices if 0 < i <= len(container)]


def _associations(ipma: bytes) -> dict[int, list[int]]:
    """Item -> the numbers of its properties, from 1 on."""
    items: dict[int, list[int]] = {}
    if len(ipma) < 8:
        return items
    head = struct.Struct(">IB" if ipma[0] else ">HB")
    wide = ipma[3] & 1
    (count,) = struct.unpack_from(">I", ipma, 4)
    position, seen = 8, 0
    for _ in range(count):
        if position + head.size > len(ipma) or seen > _MAX_ASSOCIATIONS:
            break
        item, most = head.unpack_from(ipma, position)
        position += head.size
        body = ipma[position : position + most * (1 + wide)]
        position, seen = position + len(body), seen + 1 + most
        items.setdefault(item, _numbers(body, wide))
    return items


def _numbers(body: bytes, wide: int) -> list[int]:
    """The numbers without the bit that says whether a property is essential."""
    if wide:
        return [(body[i] << 8 | body[i + 1]) & 0x7FFF for i in range(0, len(body) - 1, 2)]
    return [number & 0x7F for number in body]


def _first_tile(meta: dict[bytes, bytes], primary: int) -> int:
    """The item that the primary one is made of, if it is a grid; else -1."""
    references = meta.get(b"iref", b"")
    size = 4 if references[:1] == b"\1" else 2
    for kind, body in _boxes(references, 4):
        if kind == b"dimg" and int.from_bytes(body[:size], "big") == primary:
            return int.from_bytes(body[size + 2 : 2 * size + 2], "big")
    return -1


def _of_track(body: bytes) -> Iterator[Box]:
    """What is in the sample entries of a movie's tracks."""
    for kind, inside in _boxes(body):
        if kind in _SAMPLES:
            yield from _boxes(inside, _TRACK[kind])
        elif kind in _TRACK:
            yield from _of_track(inside[_TRACK[kind] :])


def _code_points(colr: bytes, properties: Sequence[Box]) -> Statement:
    primaries, transfer = struct.unpack_from(">HH", colr, 4)
    return spaces.by_code_points(primaries, transfer, peak_nits=_peak_nits(dict(properties)))


def _peak_nits(properties: dict[bytes, bytes]) -> float:
    """The brightest light: of the content (clli), or of the screen it was made on (mdcv)."""
    level, screen = properties.get(b"clli", b""), properties.get(b"mdcv", b"")
    if len(level) >= 4 and (most := int.from_bytes(level[:2], "big")):
        return float(most)
    return int.from_bytes(screen[16:20], "big") / 10_000 if len(screen) >= 24 else 0.0


def _is_grey(properties: Sequence[Box]) -> bool:
    """Whether the coding has no chroma."""
    for kind, body in properties:
        if kind == b"av1C" and len(body) >= 4:
            return bool(body[2] & 0x10)
        if kind == b"hvcC" and len(body) >= 17:
            return body[16] & 3 == 0
    return False
