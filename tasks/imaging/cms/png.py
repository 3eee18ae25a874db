"""What a PNG says about its colours: W3C's Portable Network Graphics, third edition, 4.3."""

import struct
import zlib

from tasks.imaging.cms import icc, spaces
from tasks.imaging.cms.statement import Stated, Statement

_HEADER = struct.Struct(">I4s")
_READ = {b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"mDCV", b"cLLI", b"eXIf"}
_MAX_CHUNKS = 10_000
_GREY = (0, 4)
_FULL_NAME_BYTES = 80


def read(data: bytes) -> Stated:
    """The statements of a PNG; the chunks before its pixels count."""
    chunks = _chunks(data)
    statements: list[Statement] = []
    if b"cICP" in chunks:
        statements.append(_code_points(chunks))
    if b"iCCP" in chunks:
        statements.append(_inflated(chunks[b"iCCP"]))
    if b"sRGB" in chunks:
        statements.append(spaces.SRGB)
    elif b"gAMA" in chunks:
        statements.append(_calibrated(chunks[b"gAMA"], chunks.get(b"cHRM", b"")))
    space = "GRAY" if data[25:26] and data[25] in _GREY else "RGB"
    return Stated(space, tuple(statements), exif=chunks.get(b"eXIf", b""))  # type: ignore[arg-type]


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """The chunks about colours, the first of each kind."""
    found: dict[bytes, bytes] = {}
    position = 8
    for _ in range(_MAX_CHUNKS):
        if position + 12 > len(data):
            break
        length, kind = _HEADER.unpack_from(data, position)
        if kind in (b"IDAT", b"IEND"):
            break
        if kind in _READ and kind not in found:
            found[kind] = data[position + 8 : position + 8 + length]
        position += 12 + length
    return found


def _code_points(chunks: dict[bytes, bytes]) -> Statement:
    """cICP, section 11.3.2.6: RGB only, so the matrix is 0."""
    if len(points := chunks[b"cICP"]) != 4 or points[2] != 0 or points[3] > 1:
        return None
    primaries, transfer, _, full_range = points
    return spaces.by_code_points(
        primaries,
        transfer,
        video=spaces.BT1886,
        peak_nits=_peak_nits(chunks),
        narrow=not full_range,
    )


def _peak_nits(chunks: dict[bytes, bytes]) -> float:
    """The brightest light: of the content (cLLI), or of the screen it was made on (mDCV)."""
    level, screen = chunks.get(b"cLLI", b""), chunks.get(b"mDCV", b"")
    most = struct.unpack(">I", level[:4])[0] if len(level) >= 8 else 0
    if not most and len(screen) >= 24:
        (most,) = struct.unpack_from(">I", screen, 16)
    return float(most) / 10_000


def _inflated(chunk: bytes) -> bytes:
    """iCCP: a name, a method, and a compressed profile of at most `icc.MAX_BYTES`; b"" if it is
    larger, or broken."""
    end = chunk.find(b"\0", 0, _FULL_NAME_BYTES)
    if end < 1 or chunk[end + 1 : end + 2] != b"\0":
        return b""
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(chunk[end + 2 :], icc.MAX_BYTES)
    except zlib.error:
        return b""
    return profile if inflater.eof else b""


def _calibrated(gamma: bytes, places: bytes) -> Statement:
    """gAMA and cHRM. Without gAMA, cHRM would leave half of it to be guessed: browsers do not."""
    stored = int.from_bytes(gamma, "big")
    if len(gamma) != 4 or not stored:
        return None
    if len(places) != 32:
        return spaces.by_gamma(100_000 / stored)
    values = [value / 100_000 for value in struct.unpack(">8i", places)]
    return spaces.by_gamma(100_000 / stored, values)
