"""Decodes untrusted bytes. Runs in the sandbox only: never call it in a process that must survive.

libwebp and libavif, which Pillow brings, are called directly (libwebp.py, libavif.py). Pillow
itself holds such a picture two or three times at its full size. pyvips would be one dependency
instead, and can be confined as well, but costs more: on pictures of 40 megapixels 1.2 to 1.7 times
the CPU for WebP, and for AVIF 2.9 times the CPU and 600 MiB instead of 120.
"""

import io
import itertools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, ExifTags
from PIL import Image as Picture

from tasks.imaging import colour, geometry, libavif, libwebp, webp
from tasks.imaging.geometry import Pixels
from tasks.imaging.guard import Header, strip_png

_STRIP_ROWS = 64
_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

# All plug-ins are imported now: a confined child can open no file, so it could not import them.
Picture.init()
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def decode(data: bytes, memory: Pixels, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Write H x W x 3 to `memory` and, if there is transparency, H x W behind it.

    Arguments: `header`, the fields of the guard's Header, and `max_side`, the longest side of what
    is written. Returns {height, width, alpha, turned}: the size written, whether there is an alpha,
    and whether making the picture upright swapped its sides.
    """
    cv2.setNumThreads(0)
    warnings.simplefilter("ignore")  # a program may have turned warnings into errors
    header, max_side = Header(**arguments["header"]), int(arguments["max_side"])
    data = strip_png(data) if header.format == "png" else data
    with Picture.open(io.BytesIO(data), formats=(header.format.upper(),)) as picture:
        _check_size(picture, header)
        orientation, profile = _orientation(picture), picture.info.get("icc_profile") or b""
        size = geometry.fit(picture.height, picture.width, max_side)
        if picture.mode == "CMYK":
            pixels, profile = _from_cmyk(picture, profile, size), b""
        elif header.format == "jpeg":
            pixels = _from_jpeg(data, header, size)
        elif header.format == "webp":
            pixels = _from_webp(data, size)
        elif header.format == "avif":
            channels = 4 if "A" in picture.mode else 3
            strips = libavif.strips(data, channels, header.pixels, _STRIP_ROWS)
            pixels = _shrink(strips, picture.height, size)
        else:
            pixels = _shrink(_strips(picture), picture.height, size)
    return _write(pixels, profile, orientation, memory)


def _check_size(picture: Picture.Image, header: Header) -> None:
    if picture.width > header.width or picture.height > header.height:
        raise ValueError(f"decoder says {picture.size}, header {header.width} x {header.height}")


def _orientation(picture: Picture.Image) -> int:
    """1..8; 1 if the EXIF cannot be read."""
    exif = Picture.Exif()
    try:
        exif.load(picture.info.get("exif") or b"")
        return int(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever Pillow raises for broken EXIF, the picture itself may be fine
        return 1


def _from_jpeg(data: bytes, header: Header, size: tuple[int, int]) -> Pixels:
    """RGB with the target's (height, width), shrunk while it is decoded."""
    scale = geometry.scale_of(header.height, header.width, max(size))
    flags = _REDUCED[scale] | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise ValueError("OpenCV cannot decode it")
    if pixels.shape[0] > -(-header.height // scale) or pixels.shape[1] > -(-header.width // scale):
        raise ValueError(f"decoded to {pixels.shape}, header {header.width} x {header.height}")
    return cv2.cvtColor(geometry.resize(pixels, *size, spare=True), cv2.COLOR_BGR2RGB)


def _from_cmyk(picture: Picture.Image, profile: bytes, size: tuple[int, int]) -> Pixels:
    """RGB in sRGB with the target's (height, width)."""
    height, width = size
    picture.draft("CMYK", (2 * width, 2 * height))
    inks = picture.resize((width, height), Picture.Resampling.BOX)
    return colour.cmyk_to_srgb(np.asarray(inks), profile)


def _from_webp(data: bytes, size: tuple[int, int]) -> Pixels:
    """RGB or RGBA with the target's (height, width). Of an animation, the first frame in its
    place."""
    frame = webp.first_frame(data)
    if frame is None:
        return _still(data, size)
    height, width = size
    down, across = height / frame.canvas_height, width / frame.canvas_width
    top, left = round(frame.top * down), round(frame.left * across)
    inner = max(1, round(frame.height * down)), max(1, round(frame.width * across))
    shown = _still(frame.data, inner)
    if inner == size:
        return shown
    canvas = np.full((height, width, 4), (255, 255, 255, 0), np.uint8)
    part = canvas[top : top + inner[0], left : left + inner[1]]
    part[..., 3] = 255
    part[..., : shown.shape[2]] = shown[: part.shape[0], : part.shape[1]]
    return canvas


def _still(data: bytes, size: tuple[int, int]) -> Pixels:
    """RGB, or RGBA over white, of a WebP that is not an animation."""
    pixels = libwebp.decode(data, *size)
    if pixels.shape == (*size, 3):
        return pixels
    rows = range(0, pixels.shape[0], _STRIP_ROWS)
    return _shrink((pixels[y : y + _STRIP_ROWS] for y in rows), pixels.shape[0], size)


def _strips(picture: Picture.Image) -> Iterator[Pixels]:
    """The picture from top to bottom, a few rows at a time, as RGB or RGBA."""
    picture.load()
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    key = picture.info.get("transparency")
    if picture.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        picture.info["transparency"] = tuple(value >> 8 for value in key)  # of 16-bit pixels
    for y in range(0, picture.height, _STRIP_ROWS):
        strip = picture.crop((0, y, picture.width, min(y + _STRIP_ROWS, picture.height)))
        if picture.mode.startswith("I"):
            yield _from_grey16(np.asarray(strip), key)
        else:
            yield np.asarray(strip if strip.mode == mode else strip.convert(mode))


def _from_grey16(grey: NDArray[Any], key: int | None) -> Pixels:
    """H x W of 16 bits -> RGB, or RGBA if one grey value, the key, stands for transparent."""
    shown = cv2.cvtColor((grey >> 8).astype(np.uint8), cv2.COLOR_GRAY2RGB)
    if key is None:
        return shown
    return np.dstack([shown, np.where(grey == key, 0, 255).astype(np.uint8)])


def _shrink(strips: Iterator[Pixels], rows: int, size: tuple[int, int]) -> Pixels:
    """Composite strips, which have `rows` in total, and shrink them: no full-size copy is made.

    Each strip is shrunk horizontally, then the whole once vertically. Area averaging is separable,
    so the result is that of one resize of the whole.
    """
    height, width = size
    first, top = next(strips), 0
    narrow = np.zeros((rows, width, first.shape[2]), np.uint8)
    for strip in itertools.chain([first], strips):
        narrow[top : top + len(strip)] = geometry.resize(_on_white(strip), len(strip), width)
        top += len(strip)
    return geometry.resize(narrow, height, width)


def _on_white(strip: Pixels) -> Pixels:
    """The strip over white; colours hidden under transparent pixels are removed."""
    if strip.shape[2] == 3:
        return strip
    alpha = cv2.extractChannel(strip, 3)
    if cv2.minMaxLoc(alpha)[0] == 255:
        return strip
    ink = cv2.bitwise_not(cv2.cvtColor(strip, cv2.COLOR_RGBA2RGB))
    ink = cv2.multiply(ink, cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB), scale=1 / 255)
    shown = cv2.cvtColor(cv2.bitwise_not(ink), cv2.COLOR_RGB2RGBA)
    return cv2.insertChannel(alpha, shown, 3)


def _write(pixels: Pixels, profile: bytes, orientation: int, memory: Pixels) -> dict[str, Any]:
    pixels = geometry.upright(pixels, orientation)
    height, width, channels = pixels.shape
    area = height * width
    image = np.ascontiguousarray(pixels[..., :3])
    memory[: 3 * area] = colour.to_srgb(image, profile).reshape(-1)
    has_alpha = channels == 4 and pixels[..., 3].min() < 255
    if has_alpha:
        memory[3 * area : 4 * area] = pixels[..., 3].reshape(-1)
    turned = geometry.is_turned(orientation)
    return {"height": height, "width": width, "alpha": bool(has_alpha), "turned": turned}
