"""Tone mapping: light of HDR pictures (PQ, HLG of ITU-R BT.2100) to what an SDR screen shows.

The scale is that of BT.2408: diffuse white is 203 cd/m2, and that is the white of sRGB. What is
brighter in the picture is compressed by the curve of BT.2390-8, section 5.4.1 ("EETF"), applied to
the largest of red, green and blue, so that hues stay. For HLG the display of BT.2100 with
1000 cd/m2 is assumed.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

WHITE_NITS = 203.0
DEFAULT_PEAK_NITS = 1000.0
"""Of pictures that do not say how bright they are, and of HLG: what most are mastered for."""
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073
HLG_GAMMA = 1.2
"""Of BT.2100's OOTF at 1000 cd/m2."""
Values = NDArray[np.float64]


def pq_to_nits(code: ArrayLike) -> Values:
    """Signal 0..1 -> cd/m2: the EOTF of SMPTE ST 2084."""
    root = np.asarray(code, np.float64) ** (1 / _M2)
    light: Values = 10_000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)
    return light


def nits_to_pq(nits: ArrayLike) -> Values:
    """cd/m2 -> signal 0..1: the inverse of the EOTF of SMPTE ST 2084."""
    power = (np.asarray(nits, np.float64) / 10_000) ** _M1
    code: Values = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return code


def hlg_to_scene(code: ArrayLike) -> Values:
    """Signal 0..1 -> light of the scene 0..1: the inverse of BT.2100's OETF."""
    signal = np.asarray(code, np.float64)
    upper = (np.exp((signal - _HLG_C) / _HLG_A) + _HLG_B) / 12
    scene: Values = np.where(signal <= 0.5, signal**2 / 3, upper)
    return scene


def gain(nits: ArrayLike, peak_nits: float) -> Values:
    """The factor by which light of a picture with this peak is to be darkened."""
    light = np.maximum(np.asarray(nits, np.float64), 1e-4)
    factor: Values = compressed(light, peak_nits) / light
    return factor


def compressed(nits: ArrayLike, peak_nits: float) -> Values:
    """cd/m2 of a picture with this peak -> cd/m2 of a screen with 203: BT.2390's EETF."""
    light = np.asarray(nits, np.float64)
    if peak_nits <= WHITE_NITS:
        return np.minimum(light, WHITE_NITS)
    top = nits_to_pq(peak_nits)
    signal = np.minimum(nits_to_pq(light) / top, 1)
    most = nits_to_pq(WHITE_NITS) / top
    knee = 1.5 * most - 0.5
    t = np.maximum(signal - knee, 0) / (1 - knee)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee)
    bent += (-2 * t**3 + 3 * t**2) * most
    return pq_to_nits(np.where(signal < knee, signal, bent) * top)
