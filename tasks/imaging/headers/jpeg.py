"""Reads a JPEG's header: the segments before the first scan, and the number of scans."""

import itertools
import re
from dataclasses import replace

from tasks.imaging.header import Header, Limits, broken

_MAX_GARBAGE_BYTES, _MAX_ALL_GARBAGE_BYTES = 4096, 65_536
"""Bytes between two segments, and between all segments, that are skipped, as libjpeg does."""
_NEAR_BYTES = 65_536
"""So many bytes behind the first scan are searched for others when the header is read: 20 us."""
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_NOT_FRAMES = {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _END = 0xDA, 0xD9
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""Without those that have no length: stuffing, TEM, RSTn, SOI, and fill bytes."""
_SCAN = re.compile(rb"\xff\xda")
_MARKER_IN_SCAN = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")


def read(data: bytes, limits: Limits) -> Header:
    """The header of a JPEG that starts with FF D8. Raises BadInput."""
    frame: Header | None = None
    position, segments, metadata_bytes, garbage_bytes = 2, 0, 0, 0
    while (segment := _next_segment(data, position)) is not None:
        marker, start, end = segment
        segments += 1
        garbage_bytes += start - 2 - position
        if garbage_bytes > _MAX_ALL_GARBAGE_BYTES:
            raise broken("too much lies between the JPEG's segments")
        if segments > limits.max_segments:
            raise broken(f"more than {limits.max_segments} segments", code="too_many_segments")
        if marker == _START_OF_SCAN:
            if frame is None:
                raise broken("the JPEG has a scan before its frame")
            _check_length(frame, len(data) - start)
            frame = replace(frame, metadata_bytes=metadata_bytes)
            return _with_scans(frame, data, start, limits)
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES:
            frame = _frame(data, start, end, marker, frame)
        elif marker >= 0xE0:
            metadata_bytes += end - start
        position = end
    raise broken("the JPEG has no pixels")


def count_scans(data: bytes, position: int, end: int, limits: Limits) -> int:
    """The most scans that a decoder can read; one above the limit if there are more.

    `position` is that of the first scan's marker; others are searched for up to `end`.

    Only the data says where a scan ends, so all of it is searched. FF DA cannot occur inside the
    data of a scan, so this never counts too few. If the count is too high, since another file may
    follow behind the picture's end, the segments are read one by one.
    """
    matches = itertools.islice(_SCAN.finditer(data, position, end), limits.max_scans + 1)
    scans = sum(1 for _ in matches)
    return scans if scans <= limits.max_scans else _walk(data, position, limits)


def _next_segment(data: bytes, position: int) -> tuple[int, int, int] | None:
    """(marker, start of its length field, end), or None at the end of the picture."""
    match = _MARKER.search(data, position, position + _MAX_GARBAGE_BYTES + 1)
    if match is None or match.end() + 2 > len(data):
        return None
    start = match.end()
    marker, end = data[start - 1], start + (data[start] << 8 | data[start + 1])
    if marker == _END:
        return None
    if end < start + 2 or end > len(data):
        raise broken("a JPEG segment is cut short")
    return marker, start, end


def _frame(data: bytes, start: int, end: int, marker: int, before: Header | None) -> Header:
    """The header that a start-of-frame segment states."""
    if before is not None:
        raise broken("the JPEG has two frames")
    if marker not in (_BASELINE, _EXTENDED, _PROGRESSIVE):
        raise broken(f"JPEG coding SOF{marker - 0xC0} is not supported", code="unsupported_jpeg")
    if end - start < 8 or end - start != 8 + 3 * data[start + 7]:
        raise broken("the JPEG's frame header is wrong")
    bits, channels = data[start + 2], data[start + 7]
    if bits != 8 or channels not in (1, 3, 4):
        raise broken(f"{bits} bits in {channels} channels are not supported in JPEG")
    return Header(
        "jpeg",
        width=data[start + 5] << 8 | data[start + 6],
        height=data[start + 3] << 8 | data[start + 4],
        channels=channels,
        progressive=marker == _PROGRESSIVE,
    )


def _check_length(frame: Header, size: int) -> None:
    """Refuse data too short for the frame: a block of 8 x 8 pixels takes two codes, so two bits."""
    if not frame.progressive and size * 8 < frame.pixels / 64 * 2:
        raise broken("the JPEG is smaller than its size allows")


def _with_scans(frame: Header, data: bytes, start: int, limits: Limits) -> Header:
    """The frame with its number of scans, if that is quickly found; the first began before `start`.

    A sequential JPEG whose first scan has every channel has only that one: libjpeg refuses more.
    """
    if not frame.progressive and data[start + 2] == frame.channels:
        return frame
    position, near = start - 2, start + _NEAR_BYTES
    scans = count_scans(data, position, near, limits)
    return replace(frame, scans=scans, uncounted_from=position if near < len(data) else None)


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
    raise broken(f"more than {limits.max_segments} segments", code="too_many_segments")
