"""Reads a GIF's header: its screen, and its first frame."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.imaging.header import QUICK_PARTS, Header, Limits, broken, too_many_parts

_SCREEN = struct.Struct("<HHBBB")
_FRAME = struct.Struct("<HHHHB")
_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B
_CONTROL = 0xF9
_HAS_PALETTE, _INTERLACED, _HAS_TRANSPARENCY = 0x80, 0x40, 0x01
_SUB_BLOCKS_PER_PART, _SUB_BLOCKS_OF_QUICK_LOOK = 8, 96
"""So many times more sub-blocks than parts may be passed: they hold 255 bytes at most. Of those, so
many while an event loop waits."""


@dataclass(frozen=True)
class Frame:
    """The first picture of a GIF."""

    left: int
    top: int
    width: int
    height: int
    is_interlaced: bool
    palette: bytes
    """Three bytes for each of 2, 4, .. 256 colours."""
    transparent: int | None
    """The index that shows nothing."""
    data: slice
    """Where its coded pixels lie, from the minimum code size on."""


class _TooMany(Exception):
    """More parts than may be looked at."""


def read(data: bytes, limits: Limits, most_parts: int) -> Header:
    """The header of a file that starts with GIF87a or GIF89a. Raises BadInput."""
    width, height, *_ = _SCREEN.unpack_from(data, 6)
    try:
        frames = _frames(data, most_parts)
        frame = next(frames, None)
        if frame is None:
            raise broken("the GIF has no picture")
        width, height = max(width, frame.left + frame.width), max(height, frame.top + frame.height)
        animated = next(frames, None) is not None
    except _TooMany:
        if most_parts >= limits.max_segments:
            raise too_many_parts("blocks", limits) from None
        return Header("gif", width, height, channels=4, is_complete=False)
    return Header("gif", width, height, channels=4, animated=animated, held_bits=16)


def first_frame(data: bytes) -> Frame:
    """The first picture of a GIF that `read` has accepted."""
    return next(_frames(data, len(data)))


def screen(data: bytes) -> tuple[int, int]:
    """(height, width) of the screen that frames lie on."""
    width, height, *_ = _SCREEN.unpack_from(data, 6)
    return height, width


def _frames(data: bytes, most_parts: int) -> Iterator[Frame]:
    flags = data[10]
    position = 13 + _palette_bytes(flags)
    shared, transparent, blocks = data[13:position], None, 0
    is_quick = most_parts <= QUICK_PARTS
    left_over = [_SUB_BLOCKS_OF_QUICK_LOOK if is_quick else most_parts * _SUB_BLOCKS_PER_PART]
    while position < len(data) and data[position] != _END:
        if (blocks := blocks + 1) > most_parts:
            raise _TooMany
        kind, start = data[position], position + 1
        if kind == _EXTENSION:
            if data[start] == _CONTROL and data[start + 2] & _HAS_TRANSPARENCY:
                transparent = data[start + 5]
            position = _behind_sub_blocks(data, start + 1, left_over)
        elif kind == _IMAGE:
            frame = _frame(data, start, shared, transparent)
            position = _behind_sub_blocks(data, frame.data.start + 1, left_over)
            yield frame
            transparent = None
        else:
            position = start  # stray bytes between blocks are common


def _frame(data: bytes, start: int, shared: bytes, transparent: int | None) -> Frame:
    left, top, width, height, flags = _FRAME.unpack_from(data, start)
    start += _FRAME.size
    end = start + (_palette_bytes(flags) if flags & _HAS_PALETTE else 0)
    palette = data[start:end] or shared
    if not width or not height:
        raise broken("the GIF's frame has no size")
    if not 1 <= data[end] <= 11:
        raise broken("the GIF's code size is wrong")
    interlaced = bool(flags & _INTERLACED)
    return Frame(left, top, width, height, interlaced, palette, transparent, slice(end, len(data)))


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & _HAS_PALETTE else 0


def _behind_sub_blocks(data: bytes, position: int, left_over: list[int]) -> int:
    """The position behind sub-blocks, the last of which is empty; the end if they are cut."""
    end = len(data)
    while position < end and data[position]:
        position += data[position] + 1
        left_over[0] -= 1
        if not left_over[0]:
            raise _TooMany
    return position + 1
