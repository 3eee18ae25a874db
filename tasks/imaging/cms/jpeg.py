"""What a JPEG says about its colours: an ICC profile over several segments, EXIF, a gain map."""

from tasks.imaging.cms.statement import Stated
from tasks.imaging.headers.jpeg import segments

_ICC, _EXIF = b"ICC_PROFILE\0", b"Exif\0\0"
_XMP, _ISO_GAIN_MAP = b"http://ns.adobe.com/xap/1.0/\0", b"urn:iso:std:iso:ts:21496:-1\0"
_GAIN_MAPS = (b"http://ns.adobe.com/hdr-gain-map/1.0/", b"http://ns.apple.com/HDRGainMap/1.0/")
"""Names of XMP that Android, Adobe and Apple use."""
_APP1, _APP2 = 0xE1, 0xE2
_SPACES = {1: "GRAY", 3: "RGB", 4: "CMYK"}


def read(data: bytes, channels: int) -> Stated:
    """The statements of the first picture in a JPEG."""
    parts: list[tuple[int, int, bytes]] = []
    exif, gain_map = b"", False
    for marker, start, end in segments(data):
        if marker == _APP2 and data.startswith(_ICC, start + 2) and end >= start + 16:
            parts.append((data[start + 14], data[start + 15], data[start + 16 : end]))
        elif marker == _APP1 and data.startswith(_EXIF, start + 2):
            exif = exif or data[start + 8 : end]
        elif marker == _APP1 and data.startswith(_XMP, start + 2):
            gain_map |= any(data.find(name, start, end) >= 0 for name in _GAIN_MAPS)
        elif marker == _APP2 and data.startswith(_ISO_GAIN_MAP, start + 2):
            gain_map = True
    statements = (_joined(parts),) if parts else ()
    return Stated(_SPACES[channels], statements, exif, gain_map)  # type: ignore[arg-type]


def _joined(parts: list[tuple[int, int, bytes]]) -> bytes:
    """The profile from (number, count, part): ICC.1:2022, B.4. b"" if one is missing or twice."""
    parts = sorted(parts, key=lambda part: part[0])
    numbers = [number for number, _, _ in parts]
    if numbers != list(range(1, len(parts) + 1)) or {count for _, count, _ in parts} != {
        len(parts)
    }:
        return b""
    return b"".join(part for _, _, part in parts)
