"""Conversions of pixels to 8 bits per channel of another colour space.

A converter takes H x W x channels of one depth, colours only, and returns H x W x 3 uint8. 16-bit
values are converted before they are reduced: linear light in 8 bits would lose the dark colours.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging.cms import icc, lcms, spaces, tone
from tasks.imaging.cms.lcms import Transform

Pixels = NDArray[Any]
Converter = Callable[[Pixels], NDArray[np.uint8]]

_SAME_LEVELS = 1.0
"""8-bit levels by which colours may move and still be called the same."""
_DARK_LEVELS = 64
"""A profile that makes no colour brighter than this is broken."""
_SAMPLES = 4097
"""Of a curve of 16 bits; in between it is interpolated."""

_WIDE = spaces.Named("Wide", (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077), curve=spaces.SRGB.curve)
"""A space that has all visible colours (SMPTE ST 2065-1), with sRGB's curve.

LittleCMS makes a grid of what a table does and interpolates in it. A grid of sRGB's values has a
bend where colours leave sRGB, as they are clipped there: up to 16 levels wrong beside it. In this
space nothing is clipped before the grid is used.
"""
_TO_WIDE: Any = {"target": _WIDE.profile(), "target_depth": np.uint16}


def _colours(depth: Any) -> Pixels:
    """N x 1 x 3: a grid of colours, and greys from black to white."""
    steps = np.linspace(0, 255, 6)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 1, 3)
    greys = np.repeat(np.arange(0, 256, 3.0), 3).reshape(-1, 1, 3)
    factor = np.iinfo(depth).max / 255
    return np.rint(np.concatenate([grid, greys]) * factor).astype(depth)


def effect(profile: icc.Profile) -> Literal["none", "converts", "broken"]:
    """What a profile does: "none" means that it is sRGB.

    Colours are compared, not names: profiles of Display P3 are called "... with sRGB Transfer".
    """
    space = profile.space
    if space == "CMYK":
        given = np.zeros((1, 1, 4), np.uint8)
    else:
        given = _colours(np.uint8)[..., : 1 if space == "GRAY" else 3]
    try:
        convert = Transform(profile.data, space, np.uint8, target_depth=np.uint16, way=lcms.EXACT)
    except ValueError:
        return "broken"
    levels = convert(given) / 257
    if levels.max() < _DARK_LEVELS:
        return "broken"
    is_same = space != "CMYK" and abs(levels - given).max() <= _SAME_LEVELS
    return "none" if is_same else "converts"


def by_profile(profile: icc.Profile, depth: Any) -> Converter:
    """From an ICC profile to sRGB."""
    if profile.space == "CMYK":
        convert = _through_wide(Transform(profile.data, "CMYK", np.uint8, **_TO_WIDE))
        return lambda inks: convert(to_8_bits(inks))
    if profile.space == "GRAY":
        return _by_grey(profile.data, depth)
    if profile.has_table:
        return _through_wide(_quickest(profile.data, depth))
    tables, matrix = _curves_and_matrix(profile.data, depth)
    return lambda pixels: encoded(cv2.transform(cv2.LUT(pixels, tables), matrix))


def by_light(space: spaces.Named, depth: Any, target: spaces.Named) -> Converter:
    """From PQ or HLG to another space with sRGB's curve, tone-mapped."""
    peak_nits = space.peak_nits or tone.DEFAULT_PEAK_NITS
    into = _between(space, target)
    code = np.linspace(0, 1, np.iinfo(depth).max + 1)
    if space.hdr == "pq":
        return _by_pq(tone.pq_to_nits(code), peak_nits, into)
    return _by_hlg(tone.hlg_to_scene(code), into, _luminances(space))


def mixed(inks: Pixels) -> NDArray[np.uint8]:
    """CMYK without a profile: each ink takes away its light, black all of it."""
    light = cv2.bitwise_not(to_8_bits(inks))
    black = cv2.cvtColor(cv2.extractChannel(light, 3), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.multiply(light[..., :3], black, scale=1 / 255), np.uint8)


def to_8_bits(pixels: Pixels) -> NDArray[np.uint8]:
    """16 bits are rounded to 8; 8 bits stay as they are."""
    if pixels.dtype == np.uint8:
        return pixels
    rounded = cv2.convertScaleAbs(np.ascontiguousarray(pixels), alpha=1 / 257)
    return np.asarray(rounded, np.uint8).reshape(pixels.shape)


def grey_to_rgb(grey: Pixels) -> NDArray[np.uint8]:
    """H x W x 1 -> the same value in three channels."""
    return np.asarray(cv2.cvtColor(to_8_bits(grey), cv2.COLOR_GRAY2RGB), np.uint8)


def by_table(convert: Converter, depth: Any) -> Converter:
    """From grey values, as a converter of RGB has them."""
    greys = np.arange(np.iinfo(depth).max + 1, dtype=depth)
    return _looked_up(convert(np.repeat(greys, 3).reshape(1, -1, 3)))


def grey_as_rgb(profile: bytes) -> bytes:
    """A profile of RGB in which equal channels mean what a grey value means in `profile`."""
    used = icc.read(profile)
    if used is None:
        return b""
    at = np.linspace(0, 65535, 1025).round().reshape(-1, 1, 1)
    target = _linear_srgb()
    convert = Transform(
        used.data, "GRAY", np.uint16, target=target, target_depth=np.float32, way=lcms.EXACT
    )
    curve = icc.sampled(convert(at)[:, 0, 1])
    return spaces.Named("Grey", spaces.SRGB.primaries, curve=curve).profile()


def widened(pixels: Pixels) -> Pixels:
    """Narrow range (ITU-T H.273: black is 16, white 235 of 255) -> full range, the same depth."""
    unit = 1 if pixels.dtype == np.uint8 else 256
    most = np.iinfo(pixels.dtype).max
    code = np.arange(most + 1, dtype=np.float64)
    table = np.clip((code - 16 * unit) / (219 * unit), 0, 1) * most
    return cv2.LUT(pixels, np.rint(table).astype(pixels.dtype)).reshape(pixels.shape)


def encoded(light: Pixels) -> NDArray[np.uint8]:
    """Linear light, 0..1 and beyond -> sRGB's values in 8 bits."""
    return np.asarray(cv2.LUT(_steps(light), _srgb_values()), np.uint8)


def _steps(values: Pixels) -> NDArray[np.uint16]:
    """Values 0..1 -> 16 bits; what is beyond is clipped."""
    steps = np.multiply(values, np.float32(65535))
    np.add(steps, np.float32(0.5), out=steps)
    return np.clip(steps, 0, 65535, out=steps).astype(np.uint16)


@cache
def _srgb_values() -> NDArray[np.uint8]:
    """Linear light in 16 bits -> sRGB's value (IEC 61966-2-1)."""
    light = np.linspace(0, 1, 65536)
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    table: NDArray[np.uint8] = np.rint(value * 255).astype(np.uint8)
    return table


@cache
def _srgb_light() -> NDArray[np.float32]:
    """sRGB's value in 16 bits -> linear light, 1 x 65536."""
    value = np.linspace(0, 1, 65536)
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32).reshape(1, -1)


@cache
def _linear_srgb() -> bytes:
    return spaces.Named("Linear", spaces.SRGB.primaries, curve=icc.parametric(0, 1.0)).profile()


def _by_grey(profile: bytes, depth: Any) -> Converter:
    """A table from grey values to RGB."""
    values, at = _samples(depth)
    convert = Transform(profile, "GRAY", np.uint16, target_depth=np.float32, way=lcms.EXACT)
    seen = np.clip(convert(at.reshape(-1, 1, 1))[:, 0], 0, 1) * 255
    columns = [np.interp(values, at, seen[:, i]) for i in range(3)]
    return _looked_up(np.rint(np.stack(columns, axis=-1)).astype(np.uint8).reshape(1, -1, 3))


def _looked_up(table: NDArray[np.uint8]) -> Converter:
    """From grey values, by a table of the RGB of each: 1 x N x 3."""
    return lambda grey: np.asarray(cv2.LUT(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), table))


def _through_wide(into_wide: Transform) -> Converter:
    """From what it takes, by its values of 16 bits in _WIDE, to sRGB."""
    light, matrix = _srgb_light(), _between(_WIDE, spaces.SRGB)
    return lambda pixels: encoded(cv2.transform(cv2.LUT(into_wide(pixels), light), matrix))


def _quickest(profile: bytes, depth: Any) -> Transform:
    """From RGB to _WIDE by LittleCMS's fast way if that is exact enough, else by its finer one."""
    colours = _colours(depth)
    exact = Transform(profile, "RGB", depth, way=lcms.EXACT, **_TO_WIDE)(colours).astype(np.int32)
    for way in (lcms.FAST, lcms.FINE):
        convert = Transform(profile, "RGB", depth, way=way, **_TO_WIDE)
        if abs(convert(colours) - exact).max() <= 2 * 257:
            return convert
    return convert


def _curves_and_matrix(
    profile: bytes, depth: Any
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Curves from values to linear light, 1 x N x 3, and the 3 x 4 matrix to that of sRGB.

    Found from what LittleCMS makes of each channel alone.
    """
    values, at = _samples(depth)
    ramps = np.zeros((3, len(at), 3), np.uint16)
    for i in range(3):
        ramps[i, :, i] = at
    target = _linear_srgb()
    convert = Transform(
        profile, "RGB", np.uint16, target=target, target_depth=np.float32, way=lcms.EXACT
    )
    seen = convert(ramps).astype(np.float64)
    black = seen[0, 0]
    columns = seen[:, -1] - black
    curves = [np.interp(values, at, _along(seen[i] - black, columns[i])) for i in range(3)]
    tables = np.stack(curves, axis=-1).astype(np.float32).reshape(1, -1, 3)
    return tables, np.column_stack([*columns, black])


def _samples(depth: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(all values of a depth, those at which a curve is sampled), both on the scale of 16 bits."""
    values = np.linspace(0, 65535, np.iinfo(depth).max + 1)
    return values, values if len(values) <= _SAMPLES else np.linspace(0, 65535, _SAMPLES).round()


def _along(points: NDArray[np.float64], column: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the points are along the column, 0..1."""
    length = float(column @ column)
    return points @ column / length if length else np.zeros(len(points))


def _between(space: spaces.Named, target: spaces.Named) -> NDArray[np.float64]:
    """Linear light of one space -> linear light of another one, for equal whites."""
    matrices = icc.to_d50(space.primaries, space.white), icc.to_d50(target.primaries, target.white)
    if matrices[0] is None or matrices[1] is None:
        raise ValueError(f"{space.name} or {target.name} is no colour space")
    return np.asarray(np.linalg.solve(matrices[1], matrices[0]), np.float64)


def _luminances(space: spaces.Named) -> NDArray[np.float64]:
    """What red, green and blue contribute to the luminance."""
    matrix = icc.to_d50(space.primaries, space.white)
    if matrix is None:
        raise ValueError(f"{space.name} is no colour space")
    return np.asarray(matrix[1:2])


def _by_pq(nits: NDArray[np.float64], peak_nits: float, into: NDArray[np.float64]) -> Converter:
    """`nits`: of each code. The largest channel's code says by how much all three are darkened."""
    light_of = (nits / tone.WHITE_NITS).astype(np.float32).reshape(1, -1)
    gain_of = tone.gain(nits, peak_nits).astype(np.float32).reshape(1, -1)

    def convert(pixels: Pixels) -> NDArray[np.uint8]:
        gains = cv2.LUT(_largest(pixels), gain_of)
        return encoded(cv2.transform(cv2.LUT(pixels, light_of) * gains[..., None], into))

    return convert


def _by_hlg(
    scene: NDArray[np.float64], into: NDArray[np.float64], luminances: NDArray[np.float64]
) -> Converter:
    """`scene`: light of each code. BT.2100's OOTF, then as PQ."""
    scene_of = scene.astype(np.float32).reshape(1, -1)
    peak = tone.DEFAULT_PEAK_NITS / tone.WHITE_NITS
    roots = np.linspace(0, 1, 65536)
    gains = tone.gain(roots**2 * tone.DEFAULT_PEAK_NITS, tone.DEFAULT_PEAK_NITS)
    gain_of = gains.astype(np.float32).reshape(1, -1)

    def convert(pixels: Pixels) -> NDArray[np.uint8]:
        light = cv2.LUT(pixels, scene_of)
        luminance = np.maximum(cv2.transform(light, luminances), 1e-6).reshape(light.shape[:2])
        light = light * (peak * luminance ** (tone.HLG_GAMMA - 1))[..., None]
        gains = cv2.LUT(_steps(np.sqrt(_largest(light) / peak)), gain_of)
        return encoded(cv2.transform(light * gains[..., None], into))

    return convert


def _largest(pixels: Pixels) -> Pixels:
    """H x W: the largest of the three channels."""
    red, green, blue = cv2.split(pixels)
    return cv2.max(cv2.max(red, green), blue)
