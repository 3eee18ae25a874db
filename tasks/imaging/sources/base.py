"""A picture that has been opened but not yet decoded, and how strips of it are shrunk."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
from PIL import ExifTags
from PIL import Image as Picture

from tasks.imaging import geometry
from tasks.imaging.colour import Colour
from tasks.imaging.geometry import Pixels
from tasks.imaging.header import Header

STRIP_ROWS = 64


@dataclass(frozen=True)
class Source:
    """A picture that has been opened; decoding starts when one of its functions is called.

    Pixels are H x W x C, uint8 or uint16 (full range): 1 channel grey, 2 grey and alpha, 3 RGB,
    4 RGBA, or CMYK (255 = full ink) where the colour space is that. Alpha is straight.
    """

    width: int
    """As stored, before it is made upright."""
    height: int
    colour: Colour
    """What the values mean."""
    strips: Callable[[], Iterator[Pixels]]
    """The picture at full size, from top to bottom, some rows at a time."""
    shrunk: Callable[[int, int], Pixels]
    """(height, width) -> the picture at that size, averaged; colours are weighted by alpha."""
    orientation: int = 1
    """EXIF's 1..8."""
    region: Callable[[int, int, int, int], Pixels] | None = None
    """(left, top, right, bottom) -> that part at full size, where its decoder holds all of it."""
    notes: tuple[str, ...] = ()
    """Codes of notes.py."""
    into: Callable[[Pixels], Pixels | None] = lambda memory: None
    """Memory -> the picture at full size, at its start; None where this decoder cannot do that."""

    def noted(self, *codes: str) -> "Source":
        """The same with more notes."""
        return replace(self, notes=(*self.notes, *codes))


def region_of(whole: Callable[[], Pixels]) -> Callable[[int, int, int, int], Pixels]:
    """The `region` of a source whose decoder returns the whole picture at once."""
    decoded = cache(whole)
    return lambda left, top, right, bottom: decoded()[top:bottom, left:right]


def check_size(picture: Picture.Image, header: Header) -> None:
    """Refuse a picture that is larger than the guard has been told."""
    if picture.width > header.width or picture.height > header.height:
        raise ValueError(f"decoder says {picture.size}, header {header.width} x {header.height}")


def orientation_of(picture: Picture.Image) -> int:
    """EXIF's 1..8; 1 if the EXIF cannot be read."""
    exif = Picture.Exif()
    try:
        exif.load(picture.info.get("exif") or b"")
        orientation = int(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever Pillow raises for broken EXIF, the picture itself may be fine
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def sliced(pixels: Pixels) -> Iterator[Pixels]:
    """Strips of a whole picture."""
    for top in range(0, pixels.shape[0], STRIP_ROWS):
        yield pixels[top : top + STRIP_ROWS]


def looked_up(indices: Pixels, palette: Pixels) -> Pixels:
    """H x W numbers of colours, and 256 x 3 RGB or x 4 RGBA -> H x W x 3 or x 4."""
    if palette.shape[1] == 3:  # four times faster than an index array
        return cv2.applyColorMap(indices, palette[:, None])
    packed: Pixels = np.ascontiguousarray(palette).view(np.uint32)[:, 0][indices]
    return packed.view(np.uint8).reshape(*indices.shape, 4)


def shrink(
    strips: Iterator[Pixels], rows: int, size: tuple[int, int], *, weighted: bool = True
) -> Pixels:
    """Strips, which have `rows` in total, shrunk to (height, width): no full-size copy is made.

    Each strip is shrunk horizontally, then the whole once vertically. Area averaging is separable,
    so the result is that of one resize of the whole. Colours are weighted by their alpha, so what
    is hidden under transparent pixels does not bleed; unless `weighted` is false, for CMYK.
    """
    height, width = size
    first, top = next(strips), 0
    if first.shape[:2] == size:
        return first
    narrow = np.zeros((rows, width, first.shape[2]), first.dtype)
    weighted &= not (rows == height and first.shape[1] == width)
    for strip in itertools.chain([first], strips):
        part = premultiplied(strip) if weighted else strip
        narrow[top : top + len(strip)] = _resized(part, len(strip), width)
        top += len(strip)
    small = _resized(narrow, height, width, spare=True)
    del narrow  # as large as a quarter of the picture
    return straight(small) if weighted else small


def premultiplied(pixels: Pixels) -> Pixels:
    """Colours times alpha. Without an alpha, or where all of it is opaque, nothing changes."""
    if _is_opaque(pixels):
        return pixels
    if pixels.dtype == np.uint8 and pixels.shape[2] == 4:
        return cv2.cvtColor(pixels, cv2.COLOR_RGBA2mRGBA)  # the same, twenty times faster
    return cv2.multiply(pixels, _weights(pixels), scale=1 / np.iinfo(pixels.dtype).max)


def straight(pixels: Pixels) -> Pixels:
    """Colours divided by alpha: the inverse of `premultiplied`, within a level at high alpha."""
    if _is_opaque(pixels):
        return pixels
    if pixels.dtype == np.uint8 and pixels.shape[2] == 4:
        return cv2.cvtColor(pixels, cv2.COLOR_mRGBA2RGBA)
    return cv2.divide(pixels, _weights(pixels), scale=float(np.iinfo(pixels.dtype).max))


def _is_opaque(pixels: Pixels) -> bool:
    """Whether there is no alpha, or nothing is transparent."""
    channels = pixels.shape[2]
    if channels in (1, 3):
        return True
    least = cv2.minMaxLoc(cv2.extractChannel(pixels, channels - 1))[0]
    return bool(least == np.iinfo(pixels.dtype).max)


def _weights(pixels: Pixels) -> Pixels:
    """The alpha for each of its colours; full for the alpha itself."""
    weights = np.full_like(pixels, np.iinfo(pixels.dtype).max)
    weights[..., :-1] = pixels[..., -1:]
    return weights


def _resized(pixels: Pixels, height: int, width: int, *, spare: bool = False) -> Pixels:
    """OpenCV drops the axis of a single channel."""
    channels = pixels.shape[2]
    return geometry.resize(pixels, height, width, spare=spare).reshape(height, width, channels)
