"""The first check of an upload: its type and size from its bytes, before any decoder gets them.

Standard library only. The work depends on the number of segments, never on what a header claims.
"""

import struct
from collections.abc import Callable

from tasks.errors import BadInput
from tasks.imaging.header import MIB, Header, Limits, broken
from tasks.imaging.headers import avif, jpeg, png, webp
from tasks.imaging.headers.png import strip_png

__all__ = ["Header", "Limits", "check", "check_scans", "strip_png"]

ACCEPTED = "JPEG, PNG, WebP and AVIF"
_READERS: dict[str, Callable[[bytes, Limits], Header]] = {
    "JPEG": jpeg.read,
    "PNG": png.read,
    "WebP": webp.read,
    "AVIF": avif.read,
}
_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    png.SIGNATURE: "PNG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"BM": "BMP",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"%PDF": "PDF",
    b"8BPS": "PSD",
    b"<svg": "SVG",
    b"<?xml": "SVG or XML",
}
_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_HEIC_HINT = (
    "On an iPhone choose Settings > Camera > Formats > Most Compatible, or share the photo as "
    "JPEG; on a Mac open it in Preview and export it as JPEG."
)


def check(data: bytes, limits: Limits = Limits()) -> Header:  # noqa: B008 - frozen, never changed
    """The header of a file that is safe to decode if `check_scans` accepts it too.

    Takes less than 50 us. Raises BadInput: 413 `too_large`, 415 `unsupported_type`, else 422.
    """
    if not data:
        raise broken("the file is empty", code="empty")
    if len(data) > limits.max_bytes:
        raise _too_large(len(data), limits)
    name = _type_name(data)
    if name not in _READERS:
        raise _unsupported(name)
    try:
        header = _READERS[name](data, limits)
    except (IndexError, ValueError, struct.error) as error:
        raise broken(f"the {name} is cut short") from error
    _check_size(header, limits)
    _check_cost(header, limits)
    return header


def check_scans(data: bytes, header: Header, limits: Limits) -> None:
    """Refuse a JPEG with too many scans, if `check` has not counted all of them.

    It searches the whole file, up to 340 us per MB: too long for an event loop. Raises BadInput,
    422 `too_many_scans`.
    """
    if header.uncounted_from is not None:
        _check_scans(jpeg.count_scans(data, header.uncounted_from, len(data), limits), limits)


def _type_name(data: bytes) -> str:
    """The type that the first bytes name; "" if it is unknown."""
    if data[:4] == b"RIFF":
        return "WebP" if data[8:12] == b"WEBP" else "this RIFF file"
    if data[4:8] == b"ftyp":
        return _iso_type(data)
    start = data[:32].lstrip(b"\xef\xbb\xbf \t\r\n")
    return next((name for magic, name in _MAGIC.items() if start.startswith(magic)), "")


def _iso_type(data: bytes) -> str:
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12]} | {data[i : i + 4] for i in range(16, end - 3, 4)}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIC" if brands & _HEIC_BRANDS else "a video"


def _check_size(header: Header, limits: Limits) -> None:
    width, height = header.width, header.height
    short, long = sorted((width, height))
    size = f"{width} x {height} pixels"
    if short < limits.min_side:
        raise _refused(f"{size} is too small", "too_small", f"at least {limits.min_side}", "side")
    if long > limits.max_side:
        raise _refused(f"{size} is too long", "side_too_long", f"at most {limits.max_side}", "side")
    if header.pixels > (max_pixels := _max_pixels(header, limits)):
        most = f"at most {max_pixels / 1e6:g} million"
        raise _refused(f"{size} are too many", "too_many_pixels", most, "picture")
    if long > short * limits.max_aspect:
        raise BadInput(
            f"{size} is too narrow: the longer side is over {limits.max_aspect} times the shorter.",
            code="too_narrow",
            hint="Cut the picture into pieces and send them one by one.",
        )


def _max_pixels(header: Header, limits: Limits) -> int:
    """A progressive JPEG is held completely, two bytes per channel: a fourth one needs room too."""
    held = header.progressive and header.channels == 4
    return limits.max_pixels * 3 // 4 if held else limits.max_pixels


def _check_cost(header: Header, limits: Limits) -> None:
    _check_scans(header.scans, limits)
    if header.metadata_bytes > limits.max_metadata_bytes:
        reason = f"{header.metadata_bytes / MIB:.1f} MiB of it are metadata"
        raise broken(reason, code="too_much_metadata")


def _check_scans(scans: int, limits: Limits) -> None:
    if scans > limits.max_scans:
        reason = f"the JPEG has more than {limits.max_scans} scans"
        raise broken(reason, code="too_many_scans")


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
        hint=_HEIC_HINT if name == "HEIC" else "Save the picture as JPEG or PNG and send that.",
    )
