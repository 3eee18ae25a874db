"""Encoders that are given a picture strip by strip."""

import struct
import zlib
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tasks.imaging import encode
from tasks.imaging.geometry import Pixels
from tasks.imaging.jpeg_writer import JpegWriter
from tasks.imaging.webp_writer import WebpWriter

MEDIA_TYPES = {
    "png": "image/png",
    "webp": "image/webp",
    "webp-lossless": "image/webp",
    "avif": "image/avif",
    "jpeg": "image/jpeg",
}
LARGEST = 12_600_000
"""Pixels up to which WebP and AVIF are written: their encoders hold the picture repeatedly.
Larger ones become a PNG, which is written row by row, as JPEG is."""
LONGEST = {"webp": 16_383, "webp-lossless": 16_383, "avif": 65_535}
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
_BUFFERED = 6_000_000
"""Pixels up to which a PNG is written at once, which takes a third of the time."""


@dataclass(frozen=True)
class Encoded:
    """A picture as a file."""

    data: bytes
    media_type: str
    width: int
    height: int


class Sink(Protocol):
    """Takes the strips of a picture from top to bottom."""

    def write(self, strip: Pixels) -> None:
        """The next rows: N x W x C uint8."""

    def close(self) -> Encoded:
        """The file, after the last row."""


def sink_of(form: str, height: int, width: int, channels: int, profile: bytes = b"") -> Sink:
    """The encoder for a picture of this size; a PNG where it is too large for `form`."""
    if form == "jpeg":
        return _Written(JpegWriter(height, width, channels, profile), MEDIA_TYPES[form])
    if form == "png":
        fits = height * width <= _BUFFERED
    else:
        fits = height * width <= LARGEST and max(height, width) <= LONGEST[form]
    if fits and form == "webp" and channels > 1 and not profile:
        return _Written(WebpWriter(height, width, channels == 4), MEDIA_TYPES[form])
    if fits:
        pixels = np.empty((height, width, channels), np.uint8)
        return _Buffer(form, pixels, profile)
    return _PngWriter(height, width, channels, profile)


@dataclass
class _Buffer:
    """Collects the whole picture, and encodes it at the end."""

    form: str
    pixels: Pixels
    profile: bytes
    filled: int = 0

    def write(self, strip: Pixels) -> None:
        self.pixels[self.filled : self.filled + len(strip)] = strip
        self.filled += len(strip)

    def close(self) -> Encoded:
        height, width = self.pixels.shape[:2]
        data = encode.ENCODERS[self.form](self.pixels, self.profile)
        return Encoded(data, MEDIA_TYPES[self.form], width, height)


class Writer(Protocol):
    """Writes one type of picture; of the picture itself, it holds a part or a compact form."""

    height: int
    width: int

    def write(self, rows: Pixels, /) -> None:
        """The next rows: N x width x channels, uint8."""

    def close(self) -> bytes:
        """The file, after the last row."""


@dataclass
class _Written:
    """A picture by the writer of its type."""

    writer: Writer
    media_type: str

    def write(self, strip: Pixels) -> None:
        self.writer.write(strip)

    def close(self) -> Encoded:
        return Encoded(self.writer.close(), self.media_type, self.writer.width, self.writer.height)


@dataclass
class _PngWriter:
    """Writes a PNG row by row: each is stored as its difference to the row above (filter Up)."""

    height: int
    width: int
    channels: int
    profile: bytes = b""
    _parts: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._deflate = zlib.compressobj(1, strategy=zlib.Z_FILTERED)
        self._above = np.zeros((1, self.width * self.channels), np.uint8)
        header = struct.pack(
            ">IIBBBBB", self.width, self.height, 8, _COLOUR_TYPES[self.channels], 0, 0, 0
        )
        self._parts += [b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", header)]
        if self.profile:
            self._parts.append(_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(self.profile)))

    def write(self, strip: Pixels) -> None:
        rows = strip.reshape(len(strip), -1)
        filtered = np.full((len(rows), 1 + rows.shape[1]), 2, np.uint8)
        filtered[:, 1:] = rows - np.vstack([self._above, rows[:-1]])
        self._above = rows[-1:].copy()
        if data := self._deflate.compress(filtered.tobytes()):
            self._parts.append(_chunk(b"IDAT", data))

    def close(self) -> Encoded:
        self._parts += [_chunk(b"IDAT", self._deflate.flush()), _chunk(b"IEND", b"")]
        return Encoded(b"".join(self._parts), "image/png", self.width, self.height)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
