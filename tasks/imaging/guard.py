"""The first check of an upload: its type and size from its bytes, before any decoder gets them.

Standard library only. `check` looks at the first few parts of a file, so an event loop may call it;
`complete` looks at all of them. The work depends on the number of parts, never on what a header
claims.
"""

import struct
from collections.abc import Callable

from tasks.errors import BadInput
from tasks.imaging.header import (
    MIB,
    QUICK_PARTS,
    Format,
    Header,
    Limits,
    above,
    broken,
)  # fmt: skip
from tasks.imaging.headers import avif, bmp, gif, heif, jpeg, jxl, png, tiff, webp
from tasks.imaging.headers.png import strip_png

__all__ = ["Header", "Limits", "check", "complete", "is_picture", "strip_png"]

ACCEPTED = "JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP, GIF and JPEG XL"
_READERS: dict[str, Callable[[bytes, Limits, int], Header]] = {
    "JPEG": jpeg.read,
    "PNG": png.read,
    "WebP": webp.read,
    "AVIF": avif.read,
    "HEIC": heif.read,
    "TIFF": tiff.read,
    "BMP": bmp.read,
    "GIF": gif.read,
    "JPEG XL": jxl.read,
}
"""Name of a type -> what reads the header of at most so many parts. Each raises BadInput,
IndexError, ValueError or struct.error."""
_NAMES: dict[Format, str] = {
    "jpeg": "JPEG", "png": "PNG", "webp": "WebP", "avif": "AVIF", "heif": "HEIC", "tiff": "TIFF",
    "bmp": "BMP", "gif": "GIF", "jxl": "JPEG XL",
}  # fmt: skip
_RAW = "A raw photo of a camera"
_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    png.SIGNATURE: "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"BM": "BMP",
    jxl.CODESTREAM: "JPEG XL",
    jxl.CONTAINER: "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"IIRO": _RAW,
    b"IIRS": _RAW,
    b"MMOR": _RAW,
    b"IIU\0": _RAW,
    b"FUJIFILMCCD-RAW": _RAW,
    b"%PDF": "PDF",
    b"8BPS": "PSD",
    b"<svg": "SVG",
    b"<?xml": "SVG or XML",
    b"\0\0\1\0": "ICO",
    b"gimp xcf": "XCF",
    b"\x76\x2f\x31\x01": "OpenEXR",
}


def check(data: bytes, limits: Limits = Limits()) -> Header:  # noqa: B008 - frozen, never changed
    """The header of a file that is safe to decode if `complete` accepts it too.

    Takes less than 50 us. Raises BadInput: 413 `too_large`, 415 `unsupported_type`, else 422.
    """
    if not data:
        raise BadInput(
            "The file is empty: it has no bytes.", code="empty", hint="Send the bytes of a picture."
        )
    if len(data) > limits.max_bytes:
        raise _too_large(len(data), limits)
    name = _type_name(data)
    if name not in _READERS:
        raise _unsupported(name)
    return _read(name, data, limits, min(QUICK_PARTS, limits.max_segments))


def is_picture(start: bytes) -> bool:
    """Whether a file that begins so (12 bytes or more) is of a type that is accepted."""
    return _type_name(start) in _READERS


def complete(
    data: bytes,
    header: Header,
    limits: Limits = Limits(),  # noqa: B008 - frozen, never changed
) -> Header:
    """The header after a look at all parts of a file that `check` has accepted.

    Takes up to 340 us per MB: too long for an event loop. Raises BadInput, 422.
    """
    if header.is_complete:
        return header
    return _read(_NAMES[header.format], data, limits, limits.max_segments)


def _read(name: str, data: bytes, limits: Limits, most_parts: int) -> Header:
    try:
        header = _READERS[name](data, limits, most_parts)
    except (IndexError, ValueError, struct.error) as error:
        raise broken(f"the {name} is cut short") from error
    if header.is_complete or header.width:
        _check_size(header, limits)
        _check_scans(header.scans, limits)
    return header


def _type_name(data: bytes) -> str:
    """The type that the first bytes name; "" if it is unknown."""
    if data[:4] == b"RIFF":
        return "WebP" if data[8:12] == b"WEBP" else "This RIFF file"
    if data[4:8] == b"ftyp":
        return _iso_type(data)
    start = data[:32].lstrip(b"\xef\xbb\xbf \t\r\n")
    name = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), "")
    return _RAW if name == "TIFF" and data[8:10] == b"CR" else name


def _iso_type(data: bytes) -> str:
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12]} | {data[i : i + 4] for i in range(16, end - 3, 4)}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if brands & heif.BRANDS:
        return "HEIC"
    return _RAW if b"crx " in brands else "A video"


def _check_size(header: Header, limits: Limits) -> None:
    width, height = header.width, header.height
    short, long = sorted((width, height))
    size = f"{width} x {height} pixels"
    if short < limits.min_side:
        raise _refused(f"{size} is too small", "too_small", f"at least {limits.min_side}", "side")
    if long > limits.max_side:
        raise _refused(f"{size} is too long", "side_too_long", f"at most {limits.max_side}", "side")
    if header.pixels > (max_pixels := _max_pixels(header, limits)):
        most = f"at most {max_pixels / 1e6:.3g} million"
        kind = "picture" if max_pixels == limits.max_pixels else "picture of this kind"
        raise _refused(f"{size} are too many", "too_many_pixels", most, kind)
    if long > short * limits.max_aspect:
        raise BadInput(
            f"{size} is too narrow: the longer side is over {limits.max_aspect} times the shorter.",
            code="too_narrow",
            hint="Cut the picture into pieces and send them one by one.",
        )


def _max_pixels(header: Header, limits: Limits) -> int:
    return min(limits.max_pixels, limits.max_held_bytes * 8 // max(1, header.held_bits))


def _check_scans(scans: int, limits: Limits) -> None:
    if scans > limits.max_scans:
        raise above("The JPEG has too many scans", f"{limits.max_scans}", "too_many_scans")


def _refused(what: str, code: str, limit: str, per: str) -> BadInput:
    return BadInput(
        f"{what}: a {per} may have {limit} pixels.",
        code=code,
        hint="Change the picture's size in a picture editor and send it again.",
    )


def _too_large(size: int, limits: Limits) -> BadInput:
    return BadInput(
        f"{size / MIB:.1f} MiB is too large: the limit is {limits.max_bytes / MIB:g} MiB.",
        code="too_large",
        status=413,
        hint="Save the picture smaller, or as JPEG, and send it again.",
    )


def _unsupported(name: str) -> BadInput:
    return BadInput(
        f"{name or 'This file'} is not accepted; {ACCEPTED} are.",
        code="unsupported_type",
        status=415,
        hint="Save the picture as JPEG or PNG and send that.",
    )
