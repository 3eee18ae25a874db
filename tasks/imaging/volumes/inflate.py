"""Unpacks bytes that may be a bomb: never more than was asked for."""

import bz2
import zlib

from tasks.imaging.volumes.sentences import Refused


def gunzip(data: bytes, most: int, *, may_be_longer: bool = False) -> bytes:
    """The first gzip member of `data`; of one that `may_be_longer` its first `most` bytes.

    Raises Refused if it has more than `most` bytes.
    """
    decompressor = zlib.decompressobj(wbits=31)
    if may_be_longer:
        return _start(data, decompressor, most)
    return _checked(data, decompressor, most)


def bunzip(data: bytes, most: int) -> bytes:
    """The same of bzip2."""
    return _checked(data, bz2.BZ2Decompressor(), most)


def _start(data: bytes, decompressor: "zlib._Decompress", most: int) -> bytes:
    try:
        return decompressor.decompress(data, most)
    except zlib.error as error:
        raise Refused("bad_volume") from error


def _checked(
    data: bytes, decompressor: "zlib._Decompress | bz2.BZ2Decompressor", most: int
) -> bytes:
    try:
        plain = decompressor.decompress(data, most + 1)
    except (zlib.error, OSError, EOFError) as error:
        raise Refused("bad_volume") from error
    if len(plain) > most:
        raise Refused("too_long")
    return plain
