"""Writes a JPEG strip by strip: only one strip is held, and what it has been encoded to.

Each strip is encoded as a picture of its own with the same tables, and its coded data become one
restart interval of the whole (ITU-T T.81, B.2.1 and E.1.4: at a restart the encoder starts anew,
which is what a new picture does). Decoders give the same pixels as of a JPEG written at once.
"""

from dataclasses import dataclass, field

import numpy as np

from tasks.imaging import encode
from tasks.imaging.geometry import Pixels
from tasks.imaging.headers import jpeg

_ROWS = 128
"""Of a strip. Blocks are 8 or, with halved colours, 16 rows high, so it ends between two."""
_FRAME, _START_OF_SCAN, _RESTART, _INTERVAL = 0xC0, 0xDA, 0xD0, b"\xff\xdd\x00\x04"
_END = b"\xff\xd9"


@dataclass
class JpegWriter:
    """Takes rows of a picture of `height` x `width` from top to bottom."""

    height: int
    width: int
    """At most 32,760: a strip of more would have more blocks than a restart interval may."""
    channels: int
    """1, 3 (RGB) or 4 (RGBA, which is put on white)."""
    profile: bytes = b""
    """ICC; empty for sRGB."""
    _parts: list[bytes] = field(default_factory=list)
    _filled: int = 0

    def __post_init__(self) -> None:
        self._strip = np.empty((min(_ROWS, self.height), self.width, self.channels), np.uint8)
        self._left = self.height

    def write(self, rows: Pixels) -> None:
        """The next N rows: N x width x channels, uint8."""
        while len(rows):
            taken = rows[: len(self._strip) - self._filled]
            self._strip[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            rows = rows[len(taken) :]
            if self._filled == min(len(self._strip), self._left):
                self._encode()

    def close(self) -> bytes:
        """The file, after the last row."""
        return b"".join([*self._parts, _END])

    def _encode(self) -> None:
        profile = b"" if self._parts else self.profile  # it stands in the first strip's segments
        data = encode.jpeg(self._strip[: self._filled], profile)
        head = {marker: (start, end) for marker, start, end in jpeg.segments(data)}
        scan, behind = head[_START_OF_SCAN]
        if self._parts:
            opening = bytes((0xFF, _RESTART + (len(self._parts) - 1) % 8))
        else:
            opening = self._opening(bytearray(data[:behind]), head[_FRAME][0], scan - 2)
        self._parts.append(opening + data[behind : -len(_END)])
        self._left -= self._filled
        self._filled = 0

    def _opening(self, head: bytearray, frame: int, scan: int) -> bytes:
        """The first strip's segments, with the height of the whole and the restart interval."""
        head[frame + 3 : frame + 5] = self.height.to_bytes(2, "big")
        across = down = 1  # with one channel, blocks are single ones whatever the factors
        if head[frame + 7] > 1:
            factors = head[frame + 9 : frame + 8 + 3 * head[frame + 7] : 3]
            across, down = max(f >> 4 for f in factors), max(f & 15 for f in factors)
        blocks = -(-self.width // (8 * across)) * (_ROWS // (8 * down))
        head[scan:scan] = _INTERVAL + blocks.to_bytes(2, "big")
        return bytes(head)
