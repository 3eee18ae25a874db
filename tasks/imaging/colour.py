"""What the values of an upload mean, and how they become sRGB.

The colour space is decided from all that the file says, in the order of the format's standard
(cms/), by what a profile does and never by its name. Runs in the sandbox.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging.cms import converters, icc, spaces, stated, tiff
from tasks.imaging.cms.converters import Converter
from tasks.imaging.cms.lcms import Space, Transform
from tasks.imaging.cms.spaces import Named
from tasks.imaging.cms.statement import Statement
from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header

_MOST_KEPT_BYTES = 2**20
"""Of a profile that is embedded: Pillow, among others, opens no PNG with a larger one."""
_CONVERTED_BY_BROWSERS = ("jpeg", "png", "webp", "avif", "heif")
_BLOCK_PIXELS = 2**18
"""Converted at a time: what is needed on the way stays within some MiB."""


_PLAIN: Mapping[int, Converter] = {
    1: converters.grey_to_rgb,
    3: converters.to_8_bits,
    4: converters.mixed,
}
"""Number of channels -> what makes RGB of them without a profile."""


@dataclass(frozen=True)
class Colour:
    """The colour space of a picture."""

    space: Space = "RGB"
    """Of the values."""
    icc: bytes = b""
    """ICC profile; empty for sRGB, for CMYK without a profile, and for HDR."""
    notes: tuple[str, ...] = ()
    """Codes of notes.py."""
    named: Named | None = None
    """The space by numbers, if it is HDR or its values have a narrow range."""


def find(data: bytes, header: Header, info: Mapping[Any, Any]) -> Colour:
    """The colour space of an upload. `data`: the whole file; `info`: what Pillow has found in it.

    A profile that cannot be used, or is of another space than the values, adds the note
    `profile_ignored`; the next statement counts, and without one, the values stay.
    """
    said = stated.of(data, header, info)
    notes: tuple[str, ...] = ("base_picture",) if said.gain_map else ()
    for statement in said.statements:
        found = _meant(statement, said.space)
        if found is not None:
            return Colour(found.space, found.icc, (*notes, *found.notes), found.named)
        if isinstance(statement, bytes) and "profile_ignored" not in notes:
            notes = (*notes, "profile_ignored")
    space = said.space or "RGB"
    exif = said.exif or _exif(info)
    if space == "RGB" and tiff.is_adobe_rgb(exif):
        adobe = spaces.ADOBE_RGB
        return Colour(space, adobe.profile(), (*notes, "adobe_rgb_by_exif"), adobe)
    return Colour(space, notes=notes)


def browsers_agree(colour: Colour, header: Header, notes: Sequence[str]) -> bool:
    """Whether browsers show an upload as it is read here, within some levels of 255.

    They have ways of their own for inks, HDR, tables, curves by values and 16 bits, and for most of
    what a note says.
    """
    if set(notes) - {"base_picture"} or colour.space == "CMYK" or colour.named:
        return False
    used = icc.read(colour.icc)
    if used is None:
        return True
    is_known = header.format in _CONVERTED_BY_BROWSERS and header.bits <= 8
    return is_known and used.is_formula and used.space == colour.space


def to_srgb(pixels: Pixels, colour: Colour) -> NDArray[np.uint8]:
    """Pixels of a source (sources/base.py) -> H x W x 3 in sRGB, x 4 with their alpha."""
    return _converted(pixels, colour, keeps=False)


def kept(pixels: Pixels, colour: Colour) -> NDArray[np.uint8]:
    """Pixels of a source -> H x W x 3, x 4 with their alpha, in the space of `profile(colour)`.

    RGB values stay, in 8 bits. Grey becomes RGB. CMYK becomes sRGB, as does what has a profile of
    more than a MiB. HDR is tone-mapped, but its wide gamut stays.
    """
    return _converted(pixels, colour, keeps=_can_stay(colour))


def from_srgb(pixels: NDArray[np.uint8], colour: Colour) -> NDArray[np.uint8]:
    """H x W x 3 in sRGB -> the space of `profile(colour)`, in which what is beyond is clipped.

    Raises ValueError where a profile says only the way to sRGB.
    """
    target = icc.read(profile(colour))
    if target is None:
        return pixels
    return Transform(b"", "RGB", np.uint8, target=target.data)(pixels)


def profile(colour: Colour) -> bytes:
    """The ICC profile to embed beside pixels of `kept`; empty for sRGB."""
    if colour.named and colour.named.hdr:
        return colour.named.tone_mapped().profile()
    if not _can_stay(colour) or not colour.icc:
        return b""
    return converters.grey_as_rgb(colour.icc) if _is_of_grey(colour) else colour.icc


def _can_stay(colour: Colour) -> bool:
    return colour.space != "CMYK" and len(colour.icc) <= _MOST_KEPT_BYTES


def _exif(info: Mapping[Any, Any]) -> bytes:
    exif = info.get("exif")
    return exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""


def _meant(statement: Statement, space: Space | None) -> Colour | None:
    """The space that a statement means for values of `space`; None if it cannot be used."""
    if isinstance(statement, Named):
        return _by_numbers(statement, space or "RGB")
    used = icc.read(statement) if statement else None
    if used is None or not statement:
        return None
    values = space or ("GRAY" if used.space == "GRAY" else "RGB")
    if used.space != values and (values, used.space) != ("GRAY", "RGB"):
        return None
    named = spaces.by_code_points(*used.code_points) if used.code_points else None
    if named and named.hdr:
        return _by_numbers(named, values)
    return _by_effect(values, statement, used)


def _by_numbers(named: Named, space: Space) -> Colour | None:
    if space == "CMYK":
        return None
    if named.hdr:
        return Colour(space, notes=("tone_mapped",), named=named)
    data = named.profile()
    used = icc.read(data)
    colour = _by_effect(space, data, used) if used else None
    return replace(colour, named=named) if colour and named.narrow else colour


def _by_effect(space: Space, data: bytes, used: icc.Profile) -> Colour | None:
    effect = converters.effect(used)
    if effect == "broken":
        return None
    if effect == "none":
        return Colour(space)
    return Colour(space, data if len(data) <= _MOST_KEPT_BYTES else used.data)


def _is_of_grey(colour: Colour) -> bool:
    """Whether the profile is one of grey; that of a grey picture may be one of RGB."""
    return icc.space_of(colour.icc) == "GRAY"


def _converted(pixels: Pixels, colour: Colour, *, keeps: bool) -> NDArray[np.uint8]:
    colours, alpha = _split(pixels, colour)
    convert = _converter(colour, colours.dtype.str, colours.shape[2], keeps)
    height, width = colours.shape[:2]
    rows = max(1, _BLOCK_PIXELS // width)
    if convert is converters.to_8_bits or height <= rows:
        made = convert(colours)
    else:
        made = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, rows):
            made[top : top + rows] = convert(colours[top : top + rows])
    if alpha is None:
        return made
    return np.asarray(cv2.insertChannel(alpha, cv2.cvtColor(made, cv2.COLOR_RGB2RGBA), 3))


def _split(pixels: Pixels, colour: Colour) -> tuple[Pixels, NDArray[np.uint8] | None]:
    """(colours alone: 1 channel of grey, 3 of RGB or 4 of CMYK; alpha, if there is one)."""
    channels = pixels.shape[2]
    if colour.space == "CMYK":
        return pixels, None
    alpha = None
    if channels in (2, 4):
        alpha = converters.to_8_bits(cv2.extractChannel(pixels, channels - 1))
    if channels < 3 or colour.icc and _is_of_grey(colour):
        return cv2.extractChannel(pixels, 0)[..., None], alpha
    return pixels if channels == 3 else cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB), alpha


@lru_cache(maxsize=16)
def _converter(colour: Colour, depth: str, channels: int, keeps: bool) -> Converter:
    """What converts values of 8 or 16 bits: the same for each strip of a picture."""
    if channels == 1 and not (colour.icc and _is_of_grey(colour)):
        return converters.by_table(_converter(colour, depth, 3, keeps), depth)
    named, used = colour.named, icc.read(colour.icc)
    if named and named.hdr:
        target = named.tone_mapped() if keeps else spaces.SRGB
        convert = converters.by_light(named, depth, target)
    elif used and (channels == 4 or not keeps):
        convert = converters.by_profile(used, depth)
    else:
        convert = _PLAIN[channels]
    return _widened(convert, named)


def _widened(convert: Converter, named: Named | None) -> Converter:
    if not (named and named.narrow):
        return convert
    return lambda pixels: convert(converters.widened(pixels))
