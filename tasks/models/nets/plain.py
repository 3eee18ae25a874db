"""Completes a subject in front of a plain ground by what is plainly no ground. No torch.

A network may miss the part of a subject that stands out less than another part. Where the ground is
plain all around, its colour can be foretold at each place. A large thing beside the subject that
has another colour belongs to the subject, unless it may be a shadow.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging import geometry, plain_ground
from tasks.imaging.types import Alpha, Image, Tensor
from tasks.models.nets.gaps import softly

SIDE, STEP, SMOOTH_PX = 320, 4, 0.7
"""Size at which colours are compared; of the ground, each pixel of so many both ways is looked at;
and how much of the grain is smoothed away first."""
BAND_PX = 10
"""Width of the photo's border, where the ground is looked for first."""
CLEAR, ASIDE_PX, SEEN = 0.03, 7, 0.5
"""Below the first value there is ground, if so in a square of that side; from the third value on
there is the subject."""
LEAST_CLEAR, LEAST_PLAIN, MOST_GRAIN = 0.25, 0.85, 8.0
"""Share of the border that must be ground, share of that ground which must have its colour, and
levels by which colours may differ from it."""
FITS, FIRST_FITS, LEAST_PIXELS = 6, 3, 50
"""How often the ground's colour is fitted to what has it, how often of those to the border alone,
and pixels that are needed."""
LIKE, EDGE = (2.0, 4.0), (3.0, 6.0)
"""(levels for each level of grain, levels besides): up to the first a pixel has the ground's
colour, from the second on it has another one."""
LEAST_SHARE, LEAST_WIDTH_PX = 0.05, 6
"""Of a part: its share of the subject, and its width."""
PLAINLY, LEAST_PLAINLY, LEAST_HUE = 3.0, 0.75, 0.4
"""Of a part, this share must have so many times the second limit's distance from the ground, and
this share must be no shadow: drawn shadows have up to 0.69 and 0.26."""
BELIEVED = 0.1
"""An area that a part encloses is filled from this mean value of the map on."""
RIM_PX = 7
"""Side of the square in which a part's full colour is looked for at its outline."""
_SMALL, _RIM = np.ones((3, 3), np.uint8), np.ones((RIM_PX, RIM_PX), np.uint8)


class _Ground(NamedTuple):
    """A plain ground."""

    levels: Tensor
    """SIDE x SIDE x 3: its colour at each place, also behind the subject."""
    grain: float

    def limit(self, limit: tuple[float, float]) -> float:
        """The levels that a limit stands for."""
        return limit[0] * self.grain + limit[1]


def completed(matte: Tensor, chances: Tensor, image: Image) -> Tensor:
    """The matte, H x W of 0..1, with the parts of the subject that it lacks; itself if none.

    `chances`: the network's map of the same size. The image may have any size.
    """
    coarse = geometry.resize(matte, SIDE, SIDE)
    clear = np.asarray(cv2.dilate(coarse, np.ones((ASIDE_PX, ASIDE_PX), np.uint8)) < CLEAR)
    if not (coarse > SEEN).any():
        return matte
    smooth = cv2.GaussianBlur(geometry.resize(image, SIDE, SIDE), (0, 0), SMOOTH_PX)
    small = np.asarray(smooth, np.uint8)
    ground = _ground(small, clear)
    if ground is None:
        return matte
    body = (coarse > SEEN).astype(np.uint8)
    away, hue = _distances(small.astype(np.float32), ground)
    parts = _parts(body, away, hue, ground)
    if not parts.any():
        return matte
    parts = _sharp(parts, away)
    parts |= _enclosed(
        parts | body, away > ground.limit(LIKE), geometry.resize(chances, SIDE, SIDE)
    )
    return np.maximum(matte, geometry.resize(softly(parts, body), *matte.shape))


def _ground(small: Image, clear: NDArray[np.bool_]) -> _Ground | None:
    """The ground, if it is plain: a polynomial of second degree in the place, of what has its
    colour, first at the photo's border, then everywhere."""
    border = np.ones_like(clear)
    border[BAND_PX:-BAND_PX, BAND_PX:-BAND_PX] = False
    some = (slice(STEP // 2, None, STEP),) * 2
    seen, first = clear[some], (clear & border)[some]
    if first.sum() < max(LEAST_CLEAR * border[some].sum(), LEAST_PIXELS):
        return None
    terms, pixels = _terms(STEP), small[some].astype(np.float64)
    kept = first
    for count in range(FITS):
        chosen = terms[kept]
        curves = plain_ground.fitted(chosen, pixels[kept], 1e-6 * len(chosen))
        off = abs(pixels - terms @ curves).max(2)
        grain = plain_ground.grain(off[kept])
        kept = (first if count < FIRST_FITS else seen) & (off <= 3 * grain + 2)
        if kept.sum() < LEAST_PIXELS or grain > 3 * MOST_GRAIN:
            return None
    if grain > MOST_GRAIN or kept[first].mean() < LEAST_PLAIN:
        return None
    return _Ground((_terms(1) @ curves).astype(np.float32), grain)


def _terms(step: int) -> NDArray[Any]:
    """The terms of the polynomial at each pixel of so many both ways."""
    place = (np.arange(step // 2, SIDE, step) + 0.5) / SIDE
    down, across = np.meshgrid(place, place, indexing="ij")
    return plain_ground.terms(down, across)


def _distances(levels: Tensor, ground: _Ground) -> tuple[Tensor, Tensor]:
    """How far each pixel's colour is from the ground's, and from the ground's in a shadow, in the
    channel with the most."""
    light = levels.mean(2) / np.maximum(ground.levels.mean(2), 1)
    shaded = ground.levels * np.clip(light, 0, 1)[..., None]
    return abs(levels - ground.levels).max(2), abs(levels - shaded).max(2)


def _parts(body: Alpha, away: Tensor, hue: Tensor, ground: _Ground) -> Alpha:
    """1 in the parts that the subject lacks, else 0."""
    other = (away > ground.limit(LIKE)).view(np.uint8) & (1 - body)
    whole = cv2.morphologyEx(other, cv2.MORPH_OPEN, _SMALL)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(whole, connectivity=4)
    near = np.asarray(cv2.dilate(body, _RIM) > 0)
    parts, edge = np.zeros_like(body), ground.limit(EDGE)
    large = stats[1:, cv2.CC_STAT_AREA] >= LEAST_SHARE * body.sum()
    for label in 1 + np.flatnonzero(large):
        part = labels == label
        is_other = (away[part] > PLAINLY * edge).mean() >= LEAST_PLAINLY
        if not (is_other and (hue[part] > edge).mean() >= LEAST_HUE and near[part].any()):
            continue
        width = 2 * cv2.distanceTransform(part.view(np.uint8), cv2.DIST_L2, 3).max()
        if width >= LEAST_WIDTH_PX:
            parts |= part.view(np.uint8)
    return parts


def _sharp(parts: Alpha, away: Tensor) -> Alpha:
    """The parts without the ground that shines through their rims."""
    rim = cv2.erode(parts, _RIM) == 0
    faint = away < cv2.dilate(away, _RIM) / 2
    return np.where(rim & faint, np.uint8(0), parts)


def _enclosed(subject: Alpha, other: NDArray[np.bool_], chances: Tensor) -> Alpha:
    """1 in the areas inside the subject that have another colour than the ground, or in which the
    network believes somewhat, else 0."""
    side = np.ones((5, 5), np.uint8)
    closed = np.asarray(cv2.morphologyEx(subject, cv2.MORPH_CLOSE, side), np.uint8)
    _, labels = cv2.connectedComponents(1 - closed, connectivity=4)
    inside = np.ones(int(labels.max()) + 1, np.bool_)
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        inside[border] = False
    inside[0] = False  # the label of the subject
    filled = closed & (1 - subject)
    for label in np.flatnonzero(inside):
        area = labels == label
        if chances[area].mean() >= BELIEVED or other[area].mean() > SEEN:
            filled |= area.view(np.uint8)
    return filled
