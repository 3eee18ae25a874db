"""Reads a WebP's header: canvas, frames and flags, from its RIFF chunks."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.imaging.header import Header, Limits, broken, too_many_parts

_CHUNK = struct.Struct("<4sI")
_ALPHA_FLAG, _ANIMATION_FLAG = 0x10, 0x02
_FRAME_HEADER_BYTES = 16
"""Position, size, duration and flags of an animation's frame."""


@dataclass
class _Seen:
    """What the chunks have said so far."""

    width: int = 0
    height: int = 0
    alpha: bool = False
    animated: bool = False
    frames: int = 0

    def grow(self, width: int, height: int) -> None:
        self.width, self.height = max(self.width, width), max(self.height, height)


def read(data: bytes, limits: Limits, most_parts: int) -> Header:
    """The header of a RIFF file of type WEBP, with the largest of canvas and frames. Raises
    BadInput."""
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise broken("the WebP is cut short")
    seen, count = _Seen(), 0
    for kind, body, size in _chunks(data):
        if (count := count + 1) > most_parts:
            break
        if kind in _READERS:
            if size < 10 and kind != b"VP8L":
                raise broken(f"the WebP's {kind.decode().strip()} chunk is cut short")
            _READERS[kind](data, body, seen)
    if count > limits.max_segments:
        raise too_many_parts("chunks", limits)
    if count <= most_parts and not seen.frames:
        raise broken("the WebP has no pixels")
    return Header(
        "webp",
        seen.width,
        seen.height,
        channels=4 if seen.alpha else 3,
        animated=seen.animated,
        is_complete=count <= most_parts,
    )


@dataclass(frozen=True)
class Frame:
    """One frame of an animation."""

    data: bytes
    """The frame as a WebP of its own."""
    top: int
    """Position on the canvas, in pixels, like all of the following."""
    left: int
    height: int
    width: int
    canvas_height: int
    canvas_width: int


def first_frame(data: bytes) -> Frame | None:
    """The first frame of an animation; None if the WebP is not an animation."""
    canvas = (0, 0)
    for kind, body, size in _chunks(data):
        if kind == b"VP8X":
            canvas = 1 + _int24(data, body + 7), 1 + _int24(data, body + 4)
        elif kind == b"ANMF":
            left, top = 2 * _int24(data, body), 2 * _int24(data, body + 3)
            width, height = 1 + _int24(data, body + 6), 1 + _int24(data, body + 9)
            parts = data[body + _FRAME_HEADER_BYTES : body + size]
            return Frame(_file(parts, height, width), top, left, height, width, *canvas)
    return None


def _file(parts: bytes, height: int, width: int) -> bytes:
    """A WebP made of the chunks of one frame."""
    if parts.startswith(b"ALPH"):
        sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
        parts = _CHUNK.pack(b"VP8X", 10) + bytes([_ALPHA_FLAG, 0, 0, 0]) + sides + parts
    return _CHUNK.pack(b"RIFF", len(parts) + 4) + b"WEBP" + parts


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of its body, size of its body)."""
    position, end = 12, int.from_bytes(data[4:8], "little") + 8
    while position + 8 <= end:
        kind, size = _CHUNK.unpack_from(data, position)
        if position + 8 + size > end:
            raise broken("the WebP is cut short")
        yield kind, position + 8, size
        position += 8 + size + (size & 1)


def _extended(data: bytes, body: int, seen: _Seen) -> None:
    seen.alpha |= bool(data[body] & _ALPHA_FLAG)
    seen.animated |= bool(data[body] & _ANIMATION_FLAG)
    seen.grow(1 + _int24(data, body + 4), 1 + _int24(data, body + 7))


def _lossy(data: bytes, body: int, seen: _Seen) -> None:
    if data[body + 3 : body + 6] != b"\x9d\x01\x2a":
        raise broken("the WebP's frame does not start with a key frame")
    width, height = struct.unpack_from("<HH", data, body + 6)
    seen.grow(width & 0x3FFF, height & 0x3FFF)
    seen.frames += 1


def _lossless(data: bytes, body: int, seen: _Seen) -> None:
    if data[body] != 0x2F:
        raise broken("the WebP's frame has no signature")
    bits = int.from_bytes(data[body + 1 : body + 5], "little")
    seen.alpha |= bool(bits >> 28 & 1)
    seen.grow((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    seen.frames += 1


def _animation_frame(data: bytes, body: int, seen: _Seen) -> None:
    seen.animated = True
    seen.grow(1 + _int24(data, body + 6), 1 + _int24(data, body + 9))
    seen.frames += 1


def _int24(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 3], "little")


_READERS = {
    b"VP8X": _extended,
    b"VP8 ": _lossy,
    b"VP8L": _lossless,
    b"ANMF": _animation_frame,
}
