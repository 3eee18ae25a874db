"""From a coarse matte to a fine one, with edges that follow the photo; and what alpha shows.

Everything is float32 and uses box filters only, so the time depends on the pixels, not the radius.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging import geometry
from tasks.imaging.parts import busy_below, enlarged
from tasks.imaging.sizes import Sizes
from tasks.imaging.types import Alpha, Cutout, Image

Matte = NDArray[Any]
"""H x W float32, 0..1."""
Radius = tuple[int, int]
"""Of a box: (rows, columns) on each side of its centre."""

_SURE_LOW, _SURE_HIGH = 0.03, 0.97
"""A coarse value below the first is background, above the second foreground."""
_HAZE = 0.02
"""What the filter leaves beside an edge on a flat side; removed at both ends."""
_RADIUS, _SOFTEST = 4, 0.006
"""Of the filter, in pixels of the coarse matte, as outlines out of focus are wider than its own,
and the least share of its side: they are as wide, however many pixels a network has seen."""
_SOLID_RADIUS = 2
"""This far inside, the subject is solid again. Without it, narrow subjects would look like
glass."""
_EPSILON = 3e-4
"""Smallest variance of the guide (0..1, squared) that counts as an edge."""
_FITS = (0.4, 0.9)
"""Share of the matte's variance that the colours explain: below the first they tell nothing of it,
from the second on all."""
_THIN, _LENGTH_PX = (0.5, 0.8), 24
"""A line that is narrower than the filter by so much of its value, and so long in pixels of the
coarse matte, is a leg or a strap: the mean around it would dissolve it."""
_CONTRAST, _STEEP = (1.5e-3, 5e-4), (0.06, 0.14)
"""Variance of the guide, squared like _EPSILON: contrast, none. Variance of the matte: soft, an
edge that the map itself shows sharply."""
_ONES = np.ones(4, np.float32)
_AT_ONCE = 64
"""Rows that are worked on together: few enough to stay in a processor's cache."""
_WORK_SIDES = (256, 1024)
"""The filter's statistics are computed at the coarse matte's size, within these limits."""


def refine(alpha: NDArray[Any], image: Image, sizes: Sizes | None = None) -> Alpha:
    """A coarse H' x W' matte (uint8, or float32 0..1) -> the image's size, along its edges.

    Fast guided filter with the image's colours as guide (He, Sun, Tang, PAMI 2013; He, Sun 2015).
    Where the matte is sure all around, it stays 0 or 255. `sizes`: those of the image, if they are
    used elsewhere too.
    """
    height, width = image.shape[:2]
    work_side = min(max(*alpha.shape, _WORK_SIDES[0]), _WORK_SIDES[1])
    work_height, work_width = geometry.fit(height, width, work_side)
    coarse = geometry.resize(as_matte(alpha), work_height, work_width)
    guide = (sizes or Sizes(image)).at(work_height, work_width)
    wide, narrow = (
        _radius(alpha.shape[:2], coarse.shape, pixels)
        for pixels in (max(_RADIUS, round(_SOFTEST * max(alpha.shape))), _SOLID_RADIUS)
    )
    planes = stretched(*_followed(guide.astype(np.float32) / 255, coarse, wide))
    sure = _sure(coarse, wide, narrow)
    fine, unsure = _known(sure, height, width)
    for part in busy_below(unsure, (height, width)):
        matte, known = (enlarged(small, part, (height, width)) for small in (planes, sure))
        fine[part] = as_bytes(_settled(linear(image[part], matte), known))
    return fine


def over_white(image: Image, alpha: Alpha) -> Image:
    """The image over white, where alpha shows it."""
    share = cv2.cvtColor(np.ascontiguousarray(alpha), cv2.COLOR_GRAY2RGB)
    ink = cv2.multiply(cv2.bitwise_not(image), share, scale=1 / 255)
    return np.asarray(cv2.bitwise_not(ink), np.uint8)


def with_alpha(image: Image, alpha: Alpha) -> Cutout:
    """RGBA; RGB is zero where alpha is zero."""
    rgba = np.zeros((*alpha.shape, 4), np.uint8)
    columns = np.flatnonzero(alpha.max(0))
    if columns.size:
        shown = slice(int(columns[0]), int(columns[-1]) + 1)
        part = cv2.cvtColor(image[:, shown], cv2.COLOR_RGB2RGBA)
        part[..., 3] = alpha[:, shown]
        cv2.copyTo(part, alpha[:, shown], rgba[:, shown])
    return rgba


def without_hidden_colour(rgba: NDArray[Any]) -> Cutout:
    """RGBA with RGB zero where alpha is zero: what was removed must not be in a file."""
    return np.asarray(cv2.copyTo(rgba, cv2.extractChannel(rgba, 3)), np.uint8)


def as_matte(alpha: NDArray[Any]) -> Matte:
    """Alpha as float32 of 0..1, from uint8 or from such values."""
    matte = alpha.astype(np.float32)
    return matte / 255 if alpha.dtype == np.uint8 else np.clip(matte, 0, 1)


def _radius(coarse: tuple[int, ...], work: tuple[int, ...], pixels: int) -> Radius:
    """A radius in pixels of the coarse matte, converted to the working size."""
    down, across = (
        max(2, round(pixels * new / old)) for new, old in zip(work, coarse, strict=True)
    )
    return down, across


def box_mean(array: NDArray[Any], radius: Radius) -> NDArray[Any]:
    """The mean over a box around each pixel, mirrored at the border."""
    size = (2 * radius[1] + 1, 2 * radius[0] + 1)
    return cv2.blur(array, size, borderType=cv2.BORDER_REFLECT)


def guided(
    guide: NDArray[Any], matte: Matte, radius: Radius, epsilon: float
) -> tuple[Sequence[Matte], Matte]:
    """Per pixel the a and b of matte = a . colour + b: three planes and one, already averaged.

    `guide`: H x W x 3, 0..1. `epsilon`: smallest variance of it that counts as an edge.
    """
    return _averaged(_Fit.of(guide, matte, radius, epsilon), radius)


class _Fit(NamedTuple):
    """What a guide tells of a matte in the box around each pixel, not averaged yet."""

    slopes: Sequence[Matte]
    """One plane for each colour."""
    offset: Matte
    explained: Matte
    """Share of the matte's variance that the colours explain."""
    variance: Matte
    """Of the matte."""
    contrast: Matte
    """Variance of the guide, in all channels together."""

    @classmethod
    def of(cls, guide: NDArray[Any], matte: Matte, radius: Radius, epsilon: float) -> "_Fit":
        # Boxes are added up fastest in three or four channels, and the rest in planes.
        colours = cv2.split(guide)
        both = cv2.merge([*colours, matte])
        means = cv2.split(box_mean(both, radius))
        *middle, mean_matte = means
        products = cv2.split(box_mean(both * cv2.merge([matte] * 4), radius))
        *covariance, variance = (
            np.asarray(product - mean * mean_matte)
            for product, mean in zip(products, means, strict=True)
        )
        variances = _variances(colours, middle, radius, epsilon)
        slopes = _solve(variances, covariance)
        return cls(
            slopes,
            mean_matte - dot(slopes, middle),
            dot(slopes, covariance) / (variance + np.float32(1e-3)),
            variance,
            variances[0] + variances[3] + variances[5] - 3 * np.float32(epsilon),
        )


def _averaged(fit: _Fit, radius: Radius) -> tuple[Sequence[Matte], Matte]:
    """The slopes and the offset, averaged over a box."""
    *slopes, offset = cv2.split(box_mean(cv2.merge([*fit.slopes, fit.offset]), radius))
    return slopes, offset


def _followed(guide: NDArray[Any], coarse: Matte, radius: Radius) -> tuple[Sequence[Matte], Matte]:
    """`guided`, but the coarse matte itself where colours tell less of it than it shows: on thin
    lines, and at edges without contrast."""
    fit = _Fit.of(guide, coarse, radius, _EPSILON)
    kept = 1 - _ramp(box_mean(fit.explained, radius), _FITS)
    kept *= np.maximum(_thin(coarse, radius), _hidden(fit, radius))
    slopes, offset = _averaged(fit, radius)
    return [slope * (1 - kept) for slope in slopes], offset + kept * (coarse - offset)


def _thin(coarse: Matte, radius: Radius) -> Matte:
    """1 on long lines that are narrower than the filter, and around them; else 0."""
    box = _box(radius)
    ridge = coarse - cv2.morphologyEx(coarse, cv2.MORPH_OPEN, box)
    thin = _ramp(cv2.dilate(ridge, np.ones((5, 5), np.uint8)), _THIN)
    lines = (thin > 0.5).view(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(lines, connectivity=8)
    is_long = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(1) >= _LENGTH_PX
    is_long[0] = False  # the label of everything else
    return thin * cv2.dilate(is_long[labels].astype(np.float32), box)


def _hidden(fit: _Fit, radius: Radius) -> Matte:
    """1 around an edge of the matte at which the guide has none, else 0."""
    steep = cv2.dilate(_ramp(fit.variance, _STEEP), _box(radius))
    return np.asarray(steep * _ramp(box_mean(fit.contrast, radius), _CONTRAST), np.float32)


def _box(radius: Radius) -> Alpha:
    return np.ones((2 * radius[0] + 1, 2 * radius[1] + 1), np.uint8)


def _ramp(values: NDArray[Any], ends: tuple[float, float]) -> Matte:
    """0 at the first end, 1 at the second; the first may be the higher one."""
    first, last = ends
    return np.asarray(np.clip((values - first) / (last - first), 0, 1), np.float32)


def dot(some: Sequence[Matte], others: Sequence[Matte]) -> Matte:
    """The products of three planes, added."""
    return np.asarray(some[0] * others[0] + some[1] * others[1] + some[2] * others[2])


def _variances(
    colours: Sequence[Matte], middle: Sequence[Matte], radius: Radius, epsilon: float
) -> list[Matte]:
    """rr, rg, rb, gg, gb, bb of the colours' covariance matrix, with epsilon on its diagonal."""
    guide, turned = cv2.merge(colours), cv2.merge([*colours[1:], colours[0]])
    rr, gg, bb = cv2.split(box_mean(guide * guide, radius))
    rg, gb, rb = cv2.split(box_mean(guide * turned, radius))
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    return [
        mean - middle[i] * middle[j] + (epsilon if i == j else 0)
        for mean, (i, j) in zip([rr, rg, rb, gg, gb, bb], pairs, strict=True)
    ]


def _solve(variances: list[Matte], covariance: Sequence[Matte]) -> Sequence[Matte]:
    """Sigma^-1 . covariance per pixel, by the adjugate of the symmetric 3 x 3 matrix."""
    rr, rg, rb, gg, gb, bb = variances
    c_rr, c_rg, c_rb = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    c_gg, c_gb, c_bb = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    determinant = rr * c_rr + rg * c_rg + rb * c_rb
    rows = (c_rr, c_rg, c_rb), (c_rg, c_gg, c_gb), (c_rb, c_gb, c_bb)
    return [dot(row, covariance) / determinant for row in rows]


def stretched(slopes: Sequence[Matte], offset: Matte) -> NDArray[Any]:
    """`guided`'s a and b as planes for `linear`, with _HAZE removed at both ends of the matte."""
    return planes_of(slopes, offset - np.float32(_HAZE)) / np.float32(1 - 2 * _HAZE)


def planes_of(slopes: Sequence[Matte], offset: Matte) -> NDArray[Any]:
    """H x W x 4: a and b, for colours of 0..255. Four channels are enlarged faster than three."""
    return cv2.merge([*slopes, offset]) * np.float32(1 / 255)


def linear(image: Image, planes: NDArray[Any]) -> Matte:
    """a . colour (0..1) + b. `image`: H x W x 3; `planes`: H x W x 4, of `planes_of`."""
    total: Matte = np.empty(image.shape[:2], np.float32)
    for top in range(0, len(image), _AT_ONCE):
        rows = slice(top, top + _AT_ONCE)
        colours = cv2.cvtColor(image[rows], cv2.COLOR_RGB2RGBA).astype(np.float32)
        colours *= planes[rows]  # the fourth channel of the colours is 255
        # Four times faster than cv2.transform, or a sum over the last axis.
        np.matmul(colours, _ONES, out=total[rows])
    return total


def as_bytes(matte: Matte) -> Alpha:
    """0..1 -> 0..255, rounded; what lies outside is clipped."""
    return np.asarray(cv2.convertScaleAbs(np.maximum(matte, 0), alpha=255), np.uint8)


def _sure(coarse: Matte, wide: Radius, narrow: Radius) -> Matte:
    """1 where the coarse matte is front in the whole neighbourhood, -1 where it is background,
    else 0. The neighbourhoods are so large that 1 is never beside -1."""
    far, near = (
        np.ones((2 * down + 1, 2 * across + 1), np.uint8) for down, across in (wide, narrow)
    )
    front, background = cv2.erode(coarse, near) > _SURE_HIGH, cv2.dilate(coarse, far) < _SURE_LOW
    return np.asarray(front, np.float32) - background


def _known(sure: Matte, height: int, width: int) -> tuple[Alpha, Alpha]:
    """(255 where all around is front, else 0, at this size; not 0 where a sample or one beside it
    is unsure, at the size of `sure`)."""
    front = np.where(sure > 0, np.uint8(255), np.uint8(0))
    unsure = cv2.dilate((sure == 0).view(np.uint8), np.ones((3, 3), np.uint8))
    large = cv2.resize(front, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(large, np.uint8), np.asarray(unsure, np.uint8)


def _settled(fine: Matte, sure: Matte) -> Matte:
    """Restore 0 and 1 where the coarse matte is sure."""
    front, rest = np.maximum(sure, 0), 1 + np.minimum(sure, 0)
    return np.asarray((fine + front * (1 - fine)) * rest, np.float32)
