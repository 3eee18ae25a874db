"""Opens holes in a matte through which a plain ground is seen: between spokes, inside a handle.

A network that sees 320 px fills what is finer than it can see, and is sure of it. Where the ground
around a subject is plain, its colour behind the subject can be foretold. An area inside the subject
that has this colour and this grain, and ends at sharp edges all around, is a hole. A faint
shadow in it belongs to it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging import geometry, plain_ground
from tasks.imaging.alpha import Matte
from tasks.imaging.parts import Part
from tasks.imaging.sizes import Sizes
from tasks.imaging.types import Alpha, Image

_FIT_SIDE, _GLANCE_SIDE, _WORK_SIDE = 96, 320, 1024
"""Sizes at which the ground is looked at, whether anything has its colour, and holes."""
_SMOOTH_PX = 0.7
"""Of grain, before colours are compared."""
_CLEAR = 8
"""Of 255: below it there is ground."""
_ASIDE_PX = 3
"""Of _FIT_SIDE: so far from the subject there is ground alone."""
_LEAST_SEEN, _LEAST_PLAIN = 0.1, 0.85
"""Share of the photo that must be ground, and share of the ground that must have its colour."""
_MOST_GRAIN = 5.0
"""Of 255: a ground whose colour differs more is not plain."""
_CLIPPED = (6.0, 249.0)
"""A ground darker or lighter than that, or whose grain reaches black or white, has no colour of its
own: whatever is black or white, too, would be taken for it."""
_LIKE, _EDGE = (2.0, 2.0), (3.0, 6.0)
"""(levels for each level of grain, levels besides): up to the first a pixel has the ground's
colour, from the second on there is an edge."""
_LEAST_WIDTH, _LEAST_AREA = 0.008, 2e-4
"""Of a hole: its width as a share of the photo's side, its area as a share of the photo."""
_LEAST_EDGE = 0.9
"""Share of a hole's outline that must be an edge."""
_LEAST_LIT = 0.5
"""Share of a hole that must lie in the light; the rest has the ground's colour in a shadow."""
_DARKEST = 0.5
"""Of the ground's light, in a shadow."""
_RIM_PX = 7
"""Side of the neighbourhood in which the colour of what surrounds a hole is looked for."""
_SMALL, _RIM = np.ones((3, 3), np.uint8), np.ones((_RIM_PX, _RIM_PX), np.uint8)


@dataclass(frozen=True)
class _Ground:
    """The colour of a plain ground at each place, also behind the subject."""

    curves: NDArray[Any]
    """6 x 3, of `plain_ground.fitted`."""

    def away(self, image: Image) -> Matte:
        """How far each pixel's colour is from the ground's, in the channel with the most."""
        height, width = image.shape[:2]
        farthest = np.zeros((height, width), np.float32)
        for channel in range(3):
            level = self._levels(height, width, channel)
            np.maximum(farthest, cv2.absdiff(image[..., channel].astype(np.float32), level),
                       out=farthest)  # fmt: skip
        return farthest

    def away_in_shadow(self, image: Image) -> Matte:
        """The same, where the ground may be as dark as in a shadow."""
        height, width = image.shape[:2]
        levels = np.dstack([self._levels(height, width, channel) for channel in range(3)])
        light = image.mean(2, dtype=np.float32) / np.maximum(levels.mean(2), 1)
        levels *= np.clip(light, _DARKEST, 1)[..., None]
        return np.asarray(cv2.absdiff(image.astype(np.float32), levels).max(2), np.float32)

    def _levels(self, height: int, width: int, channel: int) -> Matte:
        down, across = _places(height), _places(width)
        c = self.curves[:, channel].astype(np.float32)
        rows = (c[0] + c[1] * down + c[3] * down**2)[:, None]
        level = rows + (c[2] * across + c[5] * across**2)[None]
        level += c[4] * down[:, None] * across[None]
        return np.asarray(level, np.float32)


def opened(alpha: Alpha, image: Image, sizes: Sizes | None = None) -> Alpha:
    """The matte, H x W, with the holes through which a plain ground is seen. No value is raised.

    `sizes`: those of the image, if they are used elsewhere too.
    """
    mattes, photos = Sizes(alpha), sizes or Sizes(image)
    ground = _ground(mattes, photos)
    if ground is None:
        return alpha
    small, matte = _seen(mattes, photos, _GLANCE_SIDE)
    if not _alike(ground.away(small), matte).any():  # a sixth of the work
        return alpha
    small, matte = _seen(mattes, photos, _WORK_SIDE)
    away, shaded = ground.away(small), cache(partial(ground.away_in_shadow, small))
    holes, in_shadow = _holes(away, matte, shaded)
    if not holes.any():
        return alpha
    grain = plain_ground.grain(away[matte < _CLEAR])
    if in_shadow:
        away = np.where(cv2.erode(holes, _SMALL) > 0, shaded(), away)
    shown = _opacity(away, holes, grain)
    large = geometry.resize(np.rint(shown * 255).astype(np.uint8), *alpha.shape)
    return np.asarray(cv2.min(alpha, np.asarray(large, np.uint8)), np.uint8)


def _places(count: int) -> NDArray[Any]:
    return ((np.arange(count) + 0.5) / count).astype(np.float32)


def _ground(mattes: Sizes, photos: Sizes) -> _Ground | None:
    """The ground, if it is plain."""
    size = geometry.fit(*mattes.size, _FIT_SIDE)
    pixels, matte = photos.at(*size), mattes.at(*size)
    side = np.ones((2 * _ASIDE_PX + 1,) * 2, np.uint8)
    clear = cv2.dilate(matte, side) < _CLEAR
    if clear.mean() < _LEAST_SEEN or not (matte > 127).any():
        return None
    rows, columns = np.nonzero(clear)
    down, across = (rows + 0.5) / size[0], (columns + 0.5) / size[1]
    terms = plain_ground.terms(down, across)
    colours = pixels[clear].astype(np.float64)
    kept = np.ones(len(colours), bool)
    for _ in range(3):
        curves = plain_ground.fitted(terms[kept], colours[kept], 1e-6)
        off = np.abs(colours - terms @ curves).max(1)
        grain = plain_ground.grain(off)
        kept = off <= 3 * grain + 2
    is_plain = grain <= _MOST_GRAIN and kept.mean() >= _LEAST_PLAIN
    return _Ground(curves) if is_plain and _has_colour(colours[kept].mean(0), grain) else None


def _has_colour(middle: NDArray[Any], grain: float) -> bool:
    """Whether a ground of this mean colour is neither black nor white."""
    darkest, lightest = max(_CLIPPED[0], _like(grain)), min(_CLIPPED[1], 255 - _like(grain))
    return bool(darkest < middle.max() and middle.min() < lightest)


def _like(grain: float) -> float:
    """Levels up to which a pixel has the ground's colour."""
    return _LIKE[0] * grain + _LIKE[1]


def _seen(mattes: Sizes, photos: Sizes, side: int) -> tuple[Image, Alpha]:
    """(the photo without its finest grain, the matte), at most `side` pixels large."""
    size = geometry.fit(*mattes.size, side)
    smooth = cv2.GaussianBlur(photos.at(*size), (0, 0), _SMOOTH_PX)
    return np.asarray(smooth, np.uint8), np.asarray(mattes.at(*size), np.uint8)


def _alike(away: Matte, matte: Alpha) -> Alpha:
    """1 where the subject has the ground's colour, else 0."""
    like = _like(plain_ground.grain(away[matte < _CLEAR]))
    inside = np.asarray(cv2.erode((matte > 127).view(np.uint8), _SMALL), np.uint8)
    alike = (away <= like).view(np.uint8) & inside
    return np.asarray(cv2.morphologyEx(alike, cv2.MORPH_OPEN, _SMALL), np.uint8)


def _holes(away: Matte, matte: Alpha, shaded: Callable[[], Matte]) -> tuple[Alpha, bool]:
    """(1 in the holes, else 0; whether shadows lie in them). `shaded`: how far colours are from the
    ground's in a shadow."""
    grain, in_shadow = plain_ground.grain(away[matte < _CLEAR]), False
    edge, least_width = _EDGE[0] * grain + _EDGE[1], _LEAST_WIDTH * max(matte.shape)
    alike = _alike(away, matte)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(alike, connectivity=4)
    holes = np.zeros_like(alike)
    least = _LEAST_AREA * matte.size
    for label in 1 + np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= least):
        part = _around(stats[label], _RIM_PX)
        hole = (labels[part] == label).view(np.uint8)
        if _is_hole(hole, away[part] >= edge, least_width):
            holes[part] |= hole
            continue
        part = _around(stats[label], int(stats[label, cv2.CC_STAT_WIDTH : cv2.CC_STAT_AREA].max()))
        dark = ((shaded()[part] <= _like(grain)) & (matte[part] > 127)).view(np.uint8)
        hole = _with_shadow((labels[part] == label).view(np.uint8), dark)
        if hole.any() and _is_hole(hole, away[part] >= edge, least_width):
            holes[part] |= hole
            in_shadow = True
    return holes, in_shadow


def _around(stats: NDArray[Any], margin: int) -> Part:
    """Rows and columns of a labelled area and of so much around it."""
    left, top, width, height = (int(each) for each in stats[: cv2.CC_STAT_AREA])
    return (
        slice(max(0, top - margin), top + height + margin),
        slice(max(0, left - margin), left + width + margin),
    )


def _with_shadow(area: Alpha, dark: Alpha) -> Alpha:
    """An area and the shadow on it; nothing if most of that is shadow, or if it has no end here."""
    joined = np.asarray(cv2.morphologyEx(dark, cv2.MORPH_OPEN, _SMALL), np.uint8) | area
    _, labels = cv2.connectedComponents(joined, connectivity=4)
    whole = (labels == labels[area > 0][0]).view(np.uint8)
    is_cut = any(border.any() for border in (whole[0], whole[-1], whole[:, 0], whole[:, -1]))
    is_lit = area.sum() >= _LEAST_LIT * whole.sum()
    return whole if is_lit and not is_cut else np.zeros_like(area)


def _is_hole(area: Alpha, sharp: NDArray[np.bool_], least_width: float) -> bool:
    """Whether an area is wide enough, and ends at edges all around."""
    if 2 * cv2.distanceTransform(area, cv2.DIST_L2, 3).max() < least_width:
        return False
    outline = area - cv2.erode(area, _SMALL)
    edges = outline[cv2.dilate(sharp.view(np.uint8), _RIM) > 0]
    return bool(edges.sum() >= _LEAST_EDGE * outline.sum())


def _opacity(away: Matte, holes: Alpha, grain: float) -> Matte:
    """0 in the holes, at their rims by colour, 1 elsewhere."""
    around = cv2.dilate(holes, _RIM)
    none = np.float32(_like(grain))
    full = cv2.dilate(away, _RIM)
    share = np.clip((away - none) / np.maximum(full - none, 1), 0, 1)
    return np.where(around > 0, share, np.float32(1))
