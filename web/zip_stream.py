"""Writes a ZIP archive as a stream, in memory that does not grow with it.

Formats: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 and 4.4. Sizes stand after each file's bytes
(a data descriptor), as they are not known before; such files must be deflated for some readers, so
those that would not get smaller are deflated by level 0, which copies them. An archive may have any
size and number of files; a file may have less than 4 GiB.
"""

import struct
import zlib
from collections.abc import Iterator
from datetime import datetime
from tempfile import SpooledTemporaryFile
from typing import Any

PART = 65_536
IN_MEMORY = 1 << 20
"""Bytes of the table of contents that are held in memory; more are in a file without a name."""
SIZES_FOLLOW, UTF8 = 1 << 3, 1 << 11
DEFLATED = 8
VERSION, VERSION_64 = 20, 45
EMPTY = b"\3\0"
"""Nothing, deflated."""
UNIX = 3 << 8
"""Of the program that made it: attributes are those of Unix."""
ATTRIBUTES = 0o100644 << 16
MOST_16, MOST_32 = 0xFFFF, 0xFFFFFFFF

_LOCAL = struct.Struct("<4s5H3I2H")
_DESCRIPTOR = struct.Struct("<4s3I")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_OFFSET_64 = struct.Struct("<2HQ")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")


class ZipStream:
    """An archive: for each file `start`, `data` and `end`, at last `finish`. Each returns bytes to
    send on."""

    def __init__(self, made: datetime, *, offset: int = 0) -> None:
        """`made`: the date of all files. `offset`: bytes that were sent before, for tests."""
        date = (made.year - 1980) << 9 | made.month << 5 | made.day
        self._date = made.hour << 11 | made.minute << 5 | made.second // 2, date
        self._contents = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 (closed by close)
        self._offset, self._count = offset, 0
        self._name, self._begins = b"", 0
        self._crc = self._size = self._packed = self._level = 0
        self._deflate: Any = None

    def start(self, name: str, level: int = 0) -> bytes:
        """Begin a file; `level` is zlib's, 0 for what is compressed already."""
        self._name, self._begins = name.encode(), self._offset
        self._crc = self._size = self._packed = 0
        self._level, self._deflate = level, None
        header = _LOCAL.pack(
            b"PK\3\4", VERSION, SIZES_FOLLOW | UTF8, DEFLATED, *self._date, 0, 0, 0,
            len(self._name), 0,
        )  # fmt: skip
        return self._sent(header + self._name)

    def data(self, part: bytes) -> bytes:
        """A part of the file's content."""
        if self._deflate is None:  # not earlier: its tables take longer than all the rest
            self._deflate = zlib.compressobj(self._level, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._crc, self._size = zlib.crc32(part, self._crc), self._size + len(part)
        return self._packed_part(self._deflate.compress(part))

    def end(self) -> bytes:
        """End the file."""
        rest = self._packed_part(self._deflate.flush() if self._deflate else EMPTY)
        facts = self._crc, self._packed, self._size
        self._note(facts)
        return rest + self._sent(_DESCRIPTOR.pack(b"PK\7\x08", *facts))

    def finish(self) -> Iterator[bytes]:
        """The table of contents. Nothing may be added after it."""
        begins, size = self._offset, self._contents.tell()
        self._contents.seek(0)
        while part := self._contents.read(PART):
            yield self._sent(part)
        if self._count >= MOST_16 or begins >= MOST_32 or size >= MOST_32:
            end_64 = self._offset
            yield _END_64.pack(
                b"PK\6\6", _END_64.size - 12, UNIX | VERSION_64, VERSION_64, 0, 0,
                self._count, self._count, size, begins,
            )  # fmt: skip
            yield _LOCATOR_64.pack(b"PK\6\7", 0, end_64, 1)
        count = min(self._count, MOST_16)
        yield _END.pack(b"PK\5\6", 0, 0, count, count, min(size, MOST_32), min(begins, MOST_32), 0)

    def close(self) -> None:
        """Release the table of contents."""
        self._contents.close()

    def _note(self, facts: tuple[int, int, int]) -> None:
        far = self._begins >= MOST_32
        extra = _OFFSET_64.pack(1, 8, self._begins) if far else b""
        version = VERSION_64 if far else VERSION
        record = _CENTRAL.pack(
            b"PK\1\2", UNIX | version, version, SIZES_FOLLOW | UTF8, DEFLATED, *self._date, *facts,
            len(self._name), len(extra), 0, 0, 0, ATTRIBUTES, min(self._begins, MOST_32),
        )  # fmt: skip
        self._contents.write(record + self._name + extra)
        self._count += 1

    def _packed_part(self, packed: bytes) -> bytes:
        self._packed += len(packed)
        return self._sent(packed)

    def _sent(self, sent: bytes) -> bytes:
        self._offset += len(sent)
        return sent
