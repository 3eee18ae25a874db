"""Reads an AVIF's header: the largest size that its boxes state, and how many bits it has."""

import struct
from collections.abc import Iterator
from itertools import islice

from tasks.imaging.header import QUICK_PARTS, Header, Limits, broken, too_many_parts
from tasks.imaging.headers import isobmff

_SIZE = struct.Struct(">II")
_SIZES_IN = {b"meta": (b"ispe", 8, 0), b"moov": (b"tkhd", 80, 16)}
"""Box -> (kind of box inside it, offset of width and height from its name, fractional bits)."""
_QUICK_BYTES = 4096
_HIGH, _GREY, _HALF_WIDTH, _HALF_HEIGHT = 0x40, 0x10, 0x08, 0x04
"""Flags in the third byte of a box `av1C`: more than 8 bits, one channel, halved chroma."""


def read(data: bytes, limits: Limits, most_parts: int) -> Header:
    """The header of an ISO file with an AVIF brand. Raises BadInput."""
    reach = _QUICK_BYTES if most_parts <= QUICK_PARTS else len(data)
    if any(end - start > reach for start, end, _ in _places(data)):
        return Header("avif", 0, 0, is_complete=False)
    sizes = list(islice(_sizes(data), most_parts + 1))
    if len(sizes) > limits.max_segments:
        raise too_many_parts("boxes", limits)
    if len(sizes) > most_parts:
        return Header("avif", 0, 0, is_complete=False)
    width, height = (max(side, default=0) for side in zip(*sizes, strict=True)) if sizes else (0, 0)
    if not width or not height:
        raise broken("the AVIF states no size")
    flags = list(islice(_codings(data), most_parts))
    return Header(
        "avif",
        width,
        height,
        bits=10 if any(flag & _HIGH for flag in flags) else 8,
        channels=4,
        animated=b"avis" in data[8 : min(isobmff.size_of(data), 256)],
        held_bits=_held_bits(flags),
    )


def _places(data: bytes) -> Iterator[tuple[int, int, tuple[bytes, int, int]]]:
    """(start, end, what `_SIZES_IN` says) of the boxes that state sizes."""
    for kind, start, end in isobmff.boxes(data, 0, len(data)):
        if kind in _SIZES_IN:
            yield start, end, _SIZES_IN[kind]


def _sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """(width, height) of every size box. Boxes are found by name, so no nesting hides one."""
    for start, end, (name, offset, places) in _places(data):
        at = data.find(name, start, end)
        while 0 <= at <= end - offset - 8:
            width, height = _SIZE.unpack_from(data, at + offset)
            yield width >> places, height >> places
            at = data.find(name, at + 4, end)


def _codings(data: bytes) -> Iterator[int]:
    """The flags of every picture's coding."""
    for start, end, _ in _places(data):
        at = data.find(b"av1C", start, end)
        while 0 <= at <= end - 8:
            yield data[at + 6]
            at = data.find(b"av1C", at + 4, end)


def _held_bits(flags: list[int]) -> int:
    """Of the planes of one picture in colours and one in grey, its alpha, and of what is made."""
    colours = max((_bits(flag) for flag in flags if not flag & _GREY), default=0)
    greys = max((_bits(flag) for flag in flags if flag & _GREY), default=0)
    made = 24 if any(flag & _HIGH for flag in flags) else 12
    return colours + greys + made + (4 if greys else 0)


def _bits(flag: int) -> int:
    """Per pixel, in planes of whole bytes."""
    samples = 8 if flag & _GREY else 24
    if not flag & _GREY and flag & _HALF_WIDTH:
        samples = 12 if flag & _HALF_HEIGHT else 16
    return samples * 2 if flag & _HIGH else samples
