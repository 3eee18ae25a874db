"""Several views of one photo for networks, and their maps laid on the photo: arrays only, no torch.

A network that is shown the mirrored photo errs in other places, so the mean errs less, the more so
if that shows more contrast. Views come in pairs, one pair for each network: the photo, and its
mirror image.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging import geometry
from tasks.imaging.types import Image, Tensor
from tasks.models.nets import saliency

PAIR = 2
TRUST = 4
"""Power of a map's overlap with the mean of all of them that is its weight: a map that stands alone
counts little."""
SEEN = 0.5
"""From this value on a map has seen something."""
LOST = 0.2
"""A map that has not seen this share of what another one has seen has lost part of the subject.
Those that err in the outline alone miss up to 0.15, those that lose a body 0.22 and more."""
APART, LARGE, SURE = 0.4, 0.04, 0.8
"""Two maps disagree where they are further apart than the first. Such an area is the subject's if
it has the second share of what both have seen, and one map has the third as its mean value."""
STUCK = 0.25
"""An area whose outline lies beside what both have seen for less than this share sticks out, as a
grip does: one map need only believe in it. A hem of ground lies beside it for 0.38 and more."""
BESIDE_PX = 5
LIKE, SOME = 0.59, 0.004
"""From this probability on that its colours are the subject's, and this share of what both have
seen, one map need only believe in an area."""
UNLIKE, ENCLOSED = 0.35, 0.7
"""Below this probability that its colours are the subject's an area is ground, if one map has lost
much, or if its outline lies beside what both have seen from this share on, as a gap's does."""
RATHER, COMMON = 0.42, 0.1
"""The same probability for areas that are larger than all that both have seen: coats of busts have
0.47 and more. Both must be sure of this share of all that is seen, or nobody knows."""
CUT, LEAST_RANGE = 0.006, 16
"""Share of the values at both ends that more contrast cuts off, and levels that are left at least.
With 0.003 it mends less; with 0.02 and 0.05 it harms as many pictures as it mends."""
COMPARED_SIDE, GAP_PX = 320, 5
"""Size at which maps are compared, and side of the gaps in an outline that are closed."""


def of(plain: Tensor, count: int, other: Tensor | None = None) -> Tensor:
    """A network's input, 3 x H x W, in `count` views one after the other: 3 `count` x H x W. The
    mirrored ones are of `other`, if it is given."""
    mirrored = (plain if other is None else other)[..., ::-1]
    views = [mirrored if n % PAIR else plain for n in range(count)]
    return np.ascontiguousarray(np.concatenate(views))


def contrasted(image: Image) -> Image:
    """The same with its values spread over the whole range, the channels alike."""
    counts = cv2.calcHist([image.reshape(-1, 1)], [0], None, [256], [0, 256]).cumsum()
    low, high = np.searchsorted(counts, counts[-1] * np.array([CUT, 1 - CUT]))
    spread = (np.arange(256) - low) * (255 / max(int(high - low), LEAST_RANGE))
    return np.asarray(cv2.LUT(image, np.clip(spread, 0, 255).astype(np.uint8)), np.uint8)


def upright(maps: Tensor) -> Tensor:
    """The maps of the views in their order, M x H x W, as maps of the photo."""
    return np.stack([each[:, ::-1] if n % PAIR else each for n, each in enumerate(maps)])


def of_networks(maps: Tensor, small: Image, count: int) -> Tensor:
    """One map, S x S, of all that networks gave for a photo of S x S x 3: `count` maps of one,
    or one map of the first and as many as that of its helper."""
    if len(maps) <= count:  # also of a lighter network that answers for `detail`
        return joined(upright(maps), small)
    side = COMPARED_SIDE
    coarse = np.stack([geometry.resize(each, side, side) for each in maps[1:]])
    whole = joined(upright(coarse), geometry.resize(small, side, side))
    return completed(maps[0], geometry.resize(whole, *maps.shape[1:]))


def joined(maps: Tensor, image: Image) -> Tensor:
    """One map out of several, M x H x W -> H x W: their mean, weighted by how far each agrees with
    all. Of a pair, the larger values where one has lost part of what the other has seen. The
    image has the maps' size."""
    if len(maps) == PAIR:
        return _of_pair(maps, image)
    mean = maps.mean(0)
    overlaps = np.minimum(maps, mean).sum((1, 2)) / np.maximum(maps, mean).sum((1, 2)).clip(1e-6)
    weights = np.maximum(overlaps, 1e-3) ** TRUST
    return np.asarray(np.tensordot(weights / weights.sum(), maps, 1), np.float32)


def _of_pair(maps: Tensor, image: Image) -> Tensor:
    """The mean of two maps, but the larger values in areas that one of them has lost, and the
    smaller ones where the other has taken ground along."""
    lower, upper = maps.min(0), maps.max(0)
    areas = _Areas.of(lower, upper)
    if has_lost(lower, upper):
        ground = _soft(areas, _is_ground(areas, lower, upper, image))
        return np.asarray(upper - ground * (upper - lower), np.float32)
    lost, ground = (_soft(areas, some) for some in _sides(areas, lower, upper, image))
    mean = (lower + upper) / 2
    return np.asarray(mean + (lost - ground) * (upper - mean), np.float32)


class _Areas(NamedTuple):
    """Where two maps disagree."""

    labels: NDArray[Any]
    """H x W, 0 where they agree."""
    share: NDArray[Any]
    """The pixels of each, as a share of those that both have seen; 0 where they agree."""
    means: NDArray[Any]
    """Of the larger values."""

    @classmethod
    def of(cls, lower: Tensor, upper: Tensor) -> "_Areas":
        far = (upper - lower > APART).astype(np.uint8)
        apart = cv2.morphologyEx(far, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        _, labels = cv2.connectedComponents(apart, connectivity=8)
        pixels = np.bincount(labels.ravel())
        means = np.bincount(labels.ravel(), upper.ravel()) / np.maximum(pixels, 1)
        share = pixels / max(int(np.count_nonzero(lower > SEEN)), 1)
        share[0] = 0
        return cls(labels, share, means)

    def beside(self, label: int, body: NDArray[np.uint8]) -> float:
        """The share of an area's outline that lies beside a body, H x W of 0 and 1."""
        area = (self.labels == label).astype(np.uint8)
        side = 2 * BESIDE_PX + 1
        outline = area - cv2.erode(area, np.ones((3, 3), np.uint8))
        near = cv2.dilate(body, np.ones((side, side), np.uint8)) > 0
        return float(outline[near].sum() / max(int(outline.sum()), 1))


def _sides(
    areas: _Areas, lower: Tensor, upper: Tensor, image: Image
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of each area, whether it is the subject's, and whether it is ground.

    Most of the small areas in which one map has a little are ground; large ones of which one map is
    sure, that stick out, or that have the subject's colours, are nearly always part of the subject,
    but for gaps that have the ground's.
    """
    agreed = (lower > SEEN).astype(np.uint8)
    believed = (areas.means >= SEEN) & (areas.share >= SOME)
    lost, gaps = np.zeros_like(believed), np.zeros_like(believed)
    for label in np.flatnonzero(believed & (areas.share >= LARGE)):
        beside = areas.beside(int(label), agreed)
        lost[label] = areas.means[label] >= SURE or 0 < beside < STUCK
        gaps[label] = beside >= ENCLOSED
    if (believed & ~lost).any() or gaps.any():
        like = _likeness(areas.labels, lower, upper, image)
        gaps &= like < UNLIKE
        lost |= believed & (like >= LIKE)
    return lost & ~gaps, gaps


def _is_ground(areas: _Areas, lower: Tensor, upper: Tensor, image: Image) -> NDArray[np.bool_]:
    """Of each area, whether its colours are rather those of what neither map has seen."""
    common = np.count_nonzero(lower >= saliency.SURE)
    if common < COMMON * np.count_nonzero(upper > SEEN):
        return np.zeros(len(areas.share), np.bool_)
    like, least = _likeness(areas.labels, lower, upper, image), (UNLIKE, RATHER)
    return np.asarray((areas.share >= SOME) & (like < np.where(areas.share < 1, *least)), np.bool_)


def _soft(areas: _Areas, chosen: NDArray[np.bool_]) -> Tensor:
    """1 in the areas that are chosen, softly to 0 beside them."""
    if not chosen.any():
        return np.zeros(areas.labels.shape, np.float32)
    reached = cv2.dilate(chosen[areas.labels].astype(np.float32), np.ones((9, 9), np.uint8))
    return np.asarray(cv2.blur(reached, (5, 5)), np.float32)


def _likeness(labels: NDArray[Any], lower: Tensor, upper: Tensor, image: Image) -> NDArray[Any]:
    """Of each area, the mean probability that its colours are those of what both maps are sure of,
    and not those of what neither has seen."""
    chance = saliency.likeness(image, lower >= saliency.SURE, saliency.clear(upper))
    return np.bincount(labels.ravel(), chance.ravel()) / np.maximum(np.bincount(labels.ravel()), 1)


def completed(fine: Tensor, coarse: Tensor) -> Tensor:
    """A network's map, with the larger values of another one's if it has lost part of the subject.

    Both H x W. What is fine stays: holes in what the fine one has seen count as seen.
    """
    return np.asarray(np.maximum(fine, coarse) if has_lost(fine, coarse) else fine, np.float32)


def has_lost(matte: Tensor, other: Tensor) -> bool:
    """Whether a map, H x W, lacks a large part of what the other one has seen."""
    seen, wanted = (
        (geometry.resize(each, COMPARED_SIDE, COMPARED_SIDE) > SEEN).astype(np.uint8)
        for each in (matte, other)
    )
    closed = cv2.morphologyEx(seen, cv2.MORPH_CLOSE, np.ones((GAP_PX, GAP_PX), np.uint8))
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.asarray(cv2.drawContours(closed, outlines, -1, 1, cv2.FILLED), np.uint8)
    return bool((wanted & (1 - filled)).sum() > LOST * wanted.sum())
