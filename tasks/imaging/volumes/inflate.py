"""Unpacks bytes that may be a bomb: never more than was asked for.

A file may have several members or streams one after another: bgzip and pbzip2 write such.
"""

import bz2
import zlib
from collections.abc import Callable

from tasks.imaging.volumes.sentences import Refused

STEP = 2**18
"""Bytes that are unpacked at a time: what lies behind a member is copied by the libraries."""
MOST_AT_ONCE = 2**24

_GZIP, _BZIP2 = b"\x1f\x8b", b"BZh"


def gunzip(data: bytes | memoryview, most: int, *, may_be_longer: bool = False) -> bytearray:
    """All gzip members of `data`; of what `may_be_longer` the first `most` bytes.

    Raises Refused if it has more than `most` bytes.
    """
    return _unpacked(data, _GZIP, _gzip_member, most, may_be_longer)


def bunzip(data: bytes | memoryview, most: int) -> bytearray:
    """The same of bzip2."""
    return _unpacked(data, _BZIP2, _bzip2_stream, most, may_be_longer=False)


Member = Callable[[memoryview, bytearray, int], int]
"""Appends what a member has, up to so many bytes of all; answers how many bytes of it were read."""


def _unpacked(
    data: bytes | memoryview, magic: bytes, member: Member, most: int, may_be_longer: bool
) -> bytearray:
    view, plain, at = memoryview(data), bytearray(), 0
    wanted = most if may_be_longer else most + 1
    try:
        while len(plain) < wanted and (at == 0 or view[at : at + len(magic)] == magic):
            at += member(view[at:], plain, wanted)
    except (zlib.error, OSError, EOFError) as error:
        raise Refused("bad_volume") from error
    if len(plain) > most:
        raise Refused("too_long")
    return plain


def _gzip_member(view: memoryview, plain: bytearray, wanted: int) -> int:
    unpacking, at = zlib.decompressobj(wbits=31), 0
    while at < len(view) and len(plain) < wanted and not unpacking.eof:
        block = view[at : at + STEP]
        plain += unpacking.decompress(block, min(wanted - len(plain), MOST_AT_ONCE))
        left = unpacking.unused_data if unpacking.eof else unpacking.unconsumed_tail
        at += len(block) - len(left)
    return at


def _bzip2_stream(view: memoryview, plain: bytearray, wanted: int) -> int:
    unpacking, at = bz2.BZ2Decompressor(), 0
    while len(plain) < wanted and not unpacking.eof:
        block = view[at : at + STEP] if unpacking.needs_input else view[:0]
        if unpacking.needs_input and not len(block):
            break
        plain += unpacking.decompress(block, min(wanted - len(plain), MOST_AT_ONCE))
        at += len(block) - len(unpacking.unused_data)
    return at
