"""CIEDE2000: how far colours look apart to people; about 1 is just seen side by side."""

from typing import Any

import numpy as np

Values = np.ndarray[Any, Any]
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_25_7 = 25.0**7


def lab(pixels: Values) -> Values:
    """sRGB, H x W x 3 uint8 -> CIE L*a*b* for its own white, IEC 61966-2-1."""
    value = pixels / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    ratios = light @ _TO_XYZ.T / _TO_XYZ.sum(1)
    f = np.where(ratios > 216 / 24389, np.cbrt(ratios), (24389 / 27 * ratios + 16) / 116)
    return np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1
    )


def ciede2000(first: Values, second: Values) -> Values:
    """The difference of two arrays of L*a*b*: Sharma, Wu and Dalal 2005, equations 2 to 22."""
    chroma = [np.hypot(v[..., 1], v[..., 2]) for v in (first, second)]
    mean7 = ((chroma[0] + chroma[1]) / 2) ** 7
    stretch = 1 + 0.5 * (1 - np.sqrt(mean7 / (mean7 + _25_7)))
    a = [v[..., 1] * stretch for v in (first, second)]
    chroma = [np.hypot(a[i], v[..., 2]) for i, v in enumerate((first, second))]
    hue = [np.arctan2(v[..., 2], a[i]) % (2 * np.pi) for i, v in enumerate((first, second))]
    is_grey = chroma[0] * chroma[1] == 0
    turn = (hue[1] - hue[0] + np.pi) % (2 * np.pi) - np.pi
    turn = np.where(is_grey, 0, turn)
    mean_hue = np.where(is_grey, hue[0] + hue[1], _between(hue[0], hue[1]))
    steps = (
        second[..., 0] - first[..., 0],
        chroma[1] - chroma[0],
        2 * np.sqrt(chroma[0] * chroma[1]) * np.sin(turn / 2),
    )
    mean_light, mean_chroma = (first[..., 0] + second[..., 0]) / 2, (chroma[0] + chroma[1]) / 2
    return _weighed(steps, mean_light, mean_chroma, mean_hue)


def _between(first: Values, second: Values) -> Values:
    """The mean of two angles, on their shorter side."""
    mean = (first + second) / 2
    return np.where(abs(first - second) > np.pi, (mean + np.pi) % (2 * np.pi), mean)


def _weighed(
    steps: tuple[Values, Values, Values], light: Values, chroma: Values, hue: Values
) -> Values:
    by_hue = (
        1
        - 0.17 * np.cos(hue - np.pi / 6)
        + 0.24 * np.cos(2 * hue)
        + 0.32 * np.cos(3 * hue + np.radians(6))
        - 0.20 * np.cos(4 * hue - np.radians(63))
    )
    squared = (light - 50) ** 2
    parts = (
        steps[0] / (1 + 0.015 * squared / np.sqrt(20 + squared)),
        steps[1] / (1 + 0.045 * chroma),
        steps[2] / (1 + 0.015 * chroma * by_hue),
    )
    blue = np.radians(30) * np.exp(-(((np.degrees(hue) - 275) / 25) ** 2))
    rotation = -np.sin(2 * blue) * 2 * np.sqrt(chroma**7 / (chroma**7 + _25_7))
    total = parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2 + rotation * parts[1] * parts[2]
    return np.sqrt(np.maximum(total, 0))
