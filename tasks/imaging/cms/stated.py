"""What a file of any format says about its colours."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tasks.imaging.cms import bmp, heif, jpeg, png, spaces, tiff
from tasks.imaging.cms.statement import Stated
from tasks.imaging.header import Header

_READERS = {
    "png": png.read,
    "avif": heif.read,
    "heif": heif.read,
    "heic": heif.read,
    "tiff": tiff.read,
    "bmp": bmp.read,
}


def of(data: bytes, header: Header, info: Mapping[Any, Any]) -> Stated:
    """The statements of a file.

    `info`: what Pillow has found; it counts for the other formats. Its `code_points`, primaries and
    transfer of the coded pictures of an AVIF or HEIF, count where the file states nothing else.
    """
    if header.format == "jpeg":
        return jpeg.read(data, header.channels)
    if header.format in _READERS:
        stated, coded = _READERS[header.format](data), info.get("code_points")
        if stated.statements or not coded or set(coded) == {spaces.UNSPECIFIED}:
            return stated
        return replace(stated, statements=(spaces.by_code_points(*coded),))
    profile = info.get("icc_profile")
    return Stated(None, (profile,) if profile else ())
