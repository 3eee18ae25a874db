"""Colour spaces that are given by numbers: code points of ITU-T H.273, gAMA and cHRM, Adobe RGB."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.imaging.cms import icc

Hdr = Literal["", "pq", "hlg"]
D65 = (0.3127, 0.3290)
_C, _DCI, _E = (0.310, 0.316), (0.314, 0.351), (1 / 3, 1 / 3)
_BT709 = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060)
_P3 = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
_SMPTE170 = (0.630, 0.340, 0.310, 0.595, 0.155, 0.070)

_PRIMARIES: dict[int, tuple[str, Sequence[float], tuple[float, float]]] = {
    1: ("BT.709", _BT709, D65),
    4: ("BT.470 M", (0.67, 0.33, 0.21, 0.71, 0.14, 0.08), _C),
    5: ("BT.470 BG", (0.64, 0.33, 0.29, 0.60, 0.15, 0.06), D65),
    6: ("BT.601", _SMPTE170, D65),
    7: ("SMPTE 240M", _SMPTE170, D65),
    8: ("Film", (0.681, 0.319, 0.243, 0.692, 0.145, 0.049), _C),
    9: ("BT.2020", (0.708, 0.292, 0.170, 0.797, 0.131, 0.046), D65),
    10: ("XYZ", (1.0, 0.0, 0.0, 1.0, 0.0, 0.0), _E),
    11: ("DCI-P3", _P3, _DCI),
    12: ("Display P3", _P3, D65),
    22: ("EBU 3213", (0.630, 0.340, 0.295, 0.605, 0.155, 0.077), D65),
}
"""H.273, table 2: code -> name, x and y of red, green and blue, and of white."""

SRGB_CURVE = icc.parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_CURVES: dict[int, bytes] = {
    4: icc.parametric(0, 2.2),
    5: icc.parametric(0, 2.8),
    7: icc.parametric(3, 1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0913),
    8: icc.parametric(0, 1.0),
    13: SRGB_CURVE,
    17: icc.parametric(1, 2.6, (52.37 / 48) ** (1 / 2.6), 0.0),
}
"""H.273, table 3: code -> the curve to linear light, as an ICC curve."""
_VIDEO = {1, 6, 11, 12, 14, 15}
"""The codes of cameras for BT.709 and its like; what a screen does with them is another matter."""
BT1886 = icc.parametric(0, 2.4)
"""The screens of television."""
_HDR: dict[int, Hdr] = {16: "pq", 18: "hlg"}
UNSPECIFIED, _SRGB_PRIMARIES, _SRGB_TRANSFER, _BT2020 = 2, 1, 13, 9


@dataclass(frozen=True)
class Named:
    """A colour space of RGB by its numbers."""

    name: str
    primaries: tuple[float, ...]
    """x and y of red, green and blue."""
    white: tuple[float, float] = D65
    curve: bytes = SRGB_CURVE
    """To linear light, as an ICC curve. With `hdr`, the one that is used once it is tone-mapped."""
    hdr: Hdr = ""
    peak_nits: float = 0
    """Of an HDR picture: the luminance of its brightest part; 0 if that is not known."""
    narrow: bool = False
    """Black is 16 and white 235 of 255."""

    def profile(self) -> bytes:
        """An ICC profile; b"" if the numbers make no colour space."""
        matrix = icc.to_d50(self.primaries, self.white)
        return b"" if matrix is None else icc.make(matrix, self.curve, self.name)

    def tone_mapped(self) -> "Named":
        """The space for the same colours with the brightness of SDR and sRGB's curve."""
        return Named(self.name, self.primaries, self.white)


SRGB = Named("sRGB", _BT709)
ADOBE_RGB = Named(
    "Compatible with Adobe RGB (1998)",
    (0.64, 0.33, 0.21, 0.71, 0.15, 0.06),
    curve=icc.parametric(0, 563 / 256),
)


def by_code_points(
    primaries: int,
    transfer: int,
    *,
    video: bytes = SRGB_CURVE,
    peak_nits: float = 0,
    narrow: bool = False,
) -> Named | None:
    """The space of two code points of H.273; None if they mean none.

    What is unspecified is as in sRGB (MIAF, ISO/IEC 23000-22, 7.3.6.4), or with PQ and HLG as in
    BT.2100. `video`: the curve for the codes of BT.709 and its like. Chromium takes sRGB's in AVIF,
    as pictures with these codes mostly were sRGB, and BT.1886's in PNG.
    """
    transfer = _SRGB_TRANSFER if transfer == UNSPECIFIED else transfer
    hdr = _HDR.get(transfer, "")
    if primaries == UNSPECIFIED:
        primaries = _BT2020 if hdr else _SRGB_PRIMARIES
    curve = video if transfer in _VIDEO else SRGB_CURVE if hdr else _CURVES.get(transfer)
    if primaries not in _PRIMARIES or curve is None:
        return None
    name, places, white = _PRIMARIES[primaries]
    return Named(name, tuple(places), white, curve, hdr, peak_nits, narrow)


def by_gamma(gamma: float, places: Sequence[float] | None = None) -> Named | None:
    """The space of a gamma, the exponent from values to light; None if no picture has such a one.

    `places`: x and y of white, red, green and blue; None: those of sRGB. Then a gamma within 5 % of
    2.2 means sRGB, as libpng and Chromium have it.
    """
    if not 0.1 <= gamma <= 10:
        return None
    curve = icc.parametric(0, gamma)
    if places is None or icc.to_d50(places[2:], places[:2]) is None:
        return SRGB if abs(2.2 / gamma - 1) <= 0.05 else Named("Gamma", _BT709, curve=curve)
    return Named("Calibrated", tuple(places[2:]), (places[0], places[1]), curve)
