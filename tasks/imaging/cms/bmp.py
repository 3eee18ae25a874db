"""What a BMP says about its colours: the fields of its header's versions 4 and 5."""

import struct

from tasks.imaging.cms import icc, spaces
from tasks.imaging.cms.statement import Stated, Statement

_HEADER = 14
"""Where the second header, which has versions, begins."""
_VERSION_4_BYTES, _VERSION_5_BYTES = 108, 124
_CALIBRATED, _EMBEDDED = 0, 0x4D424544


def read(data: bytes) -> Stated:
    """The statements of a BMP."""
    if len(data) < _HEADER + _VERSION_4_BYTES:
        return Stated()
    size, kind = struct.unpack_from("<I52xI", data, _HEADER)
    statement: Statement = None
    if size >= _VERSION_5_BYTES and kind == _EMBEDDED:
        start, length = struct.unpack_from("<II", data, _HEADER + 112)
        statement = data[_HEADER + start : _HEADER + start + min(length, icc.MAX_BYTES)]
    elif size >= _VERSION_4_BYTES and kind == _CALIBRATED:
        statement = _calibrated(data)
    else:
        return Stated()
    return Stated(statements=(statement,) if statement is not None else ())


def _calibrated(data: bytes) -> Statement:
    """By the light of the primaries and a gamma; often all of them are 0, and then nothing is
    stated."""
    light = struct.unpack_from("<9i", data, _HEADER + 60)
    gammas = struct.unpack_from("<3I", data, _HEADER + 96)
    sums = [sum(light[i : i + 3]) for i in (0, 3, 6)]
    if min(*sums, *gammas) <= 0 or len(set(gammas)) > 1:
        return None
    places = [light[i + k] / sums[i // 3] for i in (0, 3, 6) for k in (0, 1)]
    white = [sum(light[k::3]) / sum(sums) for k in (0, 1)]
    return spaces.by_gamma(gammas[0] / 65536, [*white, *places])
