"""Reads a JPEG's header: the segments before the first scan, and the number of scans."""

import itertools
import re
import struct
from collections.abc import Iterator
from dataclasses import replace

from tasks.imaging.header import (
    MIB,
    QUICK_PARTS,
    Header,
    Limits,
    broken,
    too_many_parts,
    unsupported,
)  # fmt: skip

_MAX_GARBAGE_BYTES, _MAX_ALL_GARBAGE_BYTES = 4096, 65_536
"""Bytes between two segments, and between all segments, that are skipped, as libjpeg does."""
_NEAR_BYTES, _NEAR_GARBAGE_BYTES = 8192, 256
"""So many bytes behind the first scan, and between segments, are searched by the quick look."""
_PROGRESSIVE, _HUFFMAN = {0xC2, 0xCA}, {0xC0, 0xC1}
"""Kinds of frames: with several scans, and with one in Huffman codes."""
_NOT_FRAMES = {0xC4, 0xC8, 0xCC}
_CODINGS = {
    **dict.fromkeys((0xC3, 0xCB), "lossless coding"),
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical coding"),
}
"""Kinds of frames that hardly any decoder takes."""
_START_OF_SCAN, _END = 0xDA, 0xD9
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""Without those that have no length: stuffing, TEM, RSTn, SOI, and fill bytes."""
_SCAN = re.compile(rb"\xff\xda")
_MARKER_IN_SCAN = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
_APPLICATION, _COMMENT = range(0xE0, 0xF0), 0xFE
_KEPT = {0xE0: b"JFIF\0", 0xE1: b"Exif\0\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
"""Application segments that decide how a picture looks: marker -> how they start."""
_MAX_KEPT_BYTES, _FEW_BYTES = 4 * MIB, 65_536
_APP2, _MULTI_PICTURE = 0xE2, b"MPF\0"
_ENTRIES, _THUMBNAIL, _FEW_PICTURES = 0xB002, 0x01, 16
"""A tag of CIPA DC-007, the kind of picture that is only a smaller copy, and how many are read."""
_LAST_COEFFICIENT = 63
"""Of a block."""


def read(data: bytes, limits: Limits, most_parts: int) -> Header:
    """The header of a JPEG that starts with FF D8. Raises BadInput."""
    frame: Header | None = None
    count, garbage_bytes, before, coding = 0, 0, 2, 0
    is_quick = most_parts <= QUICK_PARTS
    reach = _NEAR_GARBAGE_BYTES if is_quick else _MAX_GARBAGE_BYTES
    for marker, start, end in segments(data, reach):
        garbage_bytes += start - 2 - before
        if garbage_bytes > _MAX_ALL_GARBAGE_BYTES:
            raise broken("too much lies between the JPEG's segments")
        if (count := count + 1) > most_parts:
            return _incomplete(frame, count, limits)
        if marker == _START_OF_SCAN:
            if frame is None:
                raise broken("the JPEG has a scan before its frame")
            _check_length(frame, coding, len(data) - start)
            frame = replace(frame, animated=_has_more_pictures(data))
            return _with_scans(frame, data, start, limits, most_parts)
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES:
            frame, coding = _frame(data, start, end, marker, frame), marker
        before = end
    if is_quick:
        return _incomplete(frame, count, limits)
    raise broken("the JPEG has no pixels")


def strip_jpeg(data: bytes) -> bytes:
    """The same picture without texts, previews and whatever else decoders skip, and with an end.

    Decoders that read from memory fail without the last two bytes, though all pixels are there.
    Where there is little to remove, the bytes themselves are returned: a copy takes memory.
    """
    kept, kept_bytes, removed_bytes = [data[:2]], 0, 0
    for marker, start, end in segments(data):
        if marker == _START_OF_SCAN:
            if removed_bytes <= _FEW_BYTES and not is_cut(data, start):
                return data
            kept.append(data[start - 2 :])
            break
        if marker in _APPLICATION or marker == _COMMENT:
            is_needed = marker in _KEPT and data.startswith(_KEPT[marker], start + 2)
            kept_bytes += (end - start) * is_needed
            if not is_needed or kept_bytes > _MAX_KEPT_BYTES:
                removed_bytes += end - start
                continue
        kept.append(data[start - 2 : end])
    return b"".join([*kept, b"\xff\xd9"])


def is_cut(data: bytes, scan: int | None = None) -> bool:
    """Whether nothing behind the first scan's start (at `scan`) says that the picture ends."""
    return data.rfind(b"\xff\xd9", _scan_start(data) if scan is None else scan) < 0


def shows_all(data: bytes) -> bool:
    """Whether a progressive JPEG that is cut has every coefficient of its first channel, to within
    one bit."""
    seen: set[int] = set()
    starts = [match.start() for match in _SCAN.finditer(data, _scan_start(data))]
    for start in starts[:-1]:  # the last one is where it is cut
        channels = data[start + 4]
        first, last, precision = data[start + 5 + 2 * channels : start + 8 + 2 * channels]
        if data[start + 5] == _first_channel(data) and precision & 15 <= 1:
            seen |= set(range(first, last + 1))
    return len(seen) > _LAST_COEFFICIENT


def segments(data: bytes, reach: int = _MAX_GARBAGE_BYTES) -> Iterator[tuple[int, int, int]]:
    """(marker, start of its length field, end) of each up to the first scan.

    A marker is searched for at most `reach` bytes behind the segment before it.
    """
    position, marker = 2, 0
    while marker != _START_OF_SCAN:
        match = _MARKER.search(data, position, position + reach + 1)
        if match is None or match.end() + 2 > len(data):
            return
        start = match.end()
        marker, position = data[start - 1], start + (data[start] << 8 | data[start + 1])
        if marker == _END:
            return
        if position < start + 2 or position > len(data):
            raise broken("a JPEG segment is cut short")
        yield marker, start, position


def _scan_start(data: bytes) -> int:
    """Where the first scan's marker is; the end of the data if there is none."""
    scans = (start for marker, start, _ in segments(data) if marker == _START_OF_SCAN)
    return next(scans, len(data) + 2) - 2


def _first_channel(data: bytes) -> int:
    """The name of the first channel in the frame."""
    for marker, start, _ in segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES:
            return data[start + 8]
    return -1


def _incomplete(frame: Header | None, count: int, limits: Limits) -> Header:
    """What is known when most segments are still unread."""
    if count > limits.max_segments:
        raise too_many_parts("segments", limits)
    return replace(frame or Header("jpeg", 0, 0), is_complete=False)


def _frame(data: bytes, start: int, end: int, marker: int, before: Header | None) -> Header:
    """The header that a start-of-frame segment states."""
    if before is not None:
        raise broken("the JPEG has two frames")
    if marker in _CODINGS:
        raise unsupported(f"A JPEG with {_CODINGS[marker]}", "unsupported_jpeg")
    if end - start < 8 or end - start != 8 + 3 * data[start + 7]:
        raise broken("the JPEG's frame header is wrong")
    bits, channels = data[start + 2], data[start + 7]
    if bits != 8:
        raise unsupported(f"A JPEG of {bits} bits per channel", "unsupported_jpeg")
    if channels not in (1, 3, 4):
        raise unsupported(f"A JPEG of {channels} channels", "unsupported_jpeg")
    return Header(
        "jpeg",
        width=data[start + 5] << 8 | data[start + 6],
        height=data[start + 3] << 8 | data[start + 4],
        channels=channels,
        progressive=marker in _PROGRESSIVE,
        held_bits=_coefficient_bits(data[start + 9 : end : 3]),
    )


def _coefficient_bits(factors: bytes) -> int:
    """Bits per pixel of all coefficients, two bytes each, by the channels' sampling factors, and of
    what is made of them."""
    across, down = [factor >> 4 for factor in factors], [factor & 15 for factor in factors]
    if not all(across) or not all(down):
        raise broken("the JPEG's sampling factors are wrong")
    blocks = sum(a * d for a, d in zip(across, down, strict=True))
    made = 16 if len(factors) > 3 else 12
    return -(-16 * blocks // (max(across) * max(down))) + made


def _has_more_pictures(data: bytes) -> bool:
    """Whether an MPO's index (CIPA DC-007) names more pictures than smaller copies of the first."""
    parts = itertools.islice(segments(data), QUICK_PARTS)
    found = (data[start + 6 : end] for marker, start, end in parts
             if marker == _APP2 and data.startswith(_MULTI_PICTURE, start + 2))  # fmt: skip
    index = next(found, b"")
    order = ">" if index.startswith(b"MM") else "<"
    try:
        (first,) = struct.unpack_from(order + "I", index, 4)
        (count,) = struct.unpack_from(order + "H", index, first)
        tags = struct.iter_unpack(order + "HHII", index[first + 2 : first + 2 + 12 * count])
        size, at = next((size, at) for tag, _, size, at in tags if tag == _ENTRIES)
        size = min(size, 16 * _FEW_PICTURES)
        entries = struct.iter_unpack(order + "I12x", index[at : at + size])
        kinds = [attribute >> 16 & 0xFF for (attribute,) in entries]
    except (struct.error, StopIteration):
        return False  # whatever is there, the first picture is whole
    return len([kind for kind in kinds if kind != _THUMBNAIL]) > 1


def _check_length(frame: Header, coding: int, size: int) -> None:
    """Refuse data too short for the frame: a block of 8 x 8 pixels takes two codes, so two bits."""
    if coding in _HUFFMAN and size * 8 < frame.pixels / 64 * 2:
        raise broken("the JPEG is smaller than its size allows")


def _with_scans(frame: Header, data: bytes, start: int, limits: Limits, most_parts: int) -> Header:
    """The frame with its number of scans, if that is quickly found; the first began before `start`.

    A sequential JPEG whose first scan has every channel has only that one: libjpeg refuses more,
    and holds no coefficients of it.
    """
    if not frame.progressive and data[start + 2] == frame.channels:
        return replace(frame, held_bits=24)
    if most_parts > QUICK_PARTS:
        return replace(frame, scans=_count_scans(data, start - 2, limits))
    far = start + _NEAR_BYTES
    scans = data.count(b"\xff\xda", start - 2, far)
    is_complete = far >= len(data) and scans <= limits.max_scans
    return replace(frame, scans=min(scans, limits.max_scans), is_complete=is_complete)


def _count_scans(data: bytes, position: int, limits: Limits) -> int:
    """The most scans that a decoder can read; one above the limit if there are more.

    `position` is that of the first scan's marker.

    Only the data says where a scan ends, so all of it is searched. FF DA cannot occur inside the
    data of a scan, so this never counts too few. If the count is too high, since another file may
    follow behind the picture's end, the segments are read one by one.
    """
    matches = itertools.islice(_SCAN.finditer(data, position), limits.max_scans + 1)
    scans = sum(1 for _ in matches)
    return scans if scans <= limits.max_scans else _walk(data, position, limits)


def _walk(data: bytes, position: int, limits: Limits) -> int:
    """The scans up to the picture's end, without those inside other segments."""
    scans = 0
    for _ in range(limits.max_segments):
        match = _MARKER_IN_SCAN.search(data, position)
        if match is None or data[match.end() - 1] == _END or scans > limits.max_scans:
            return scans
        scans += data[match.end() - 1] == _START_OF_SCAN
        length = int.from_bytes(data[match.end() : match.end() + 2], "big")
        position = match.end() + max(2, length)
    raise too_many_parts("segments", limits)
