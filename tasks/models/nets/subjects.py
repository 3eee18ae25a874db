"""What was found in a photo: which subjects, how surely, and what speaks against it. No torch."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging import geometry
from tasks.imaging.parts import Part
from tasks.imaging.types import Image, Tensor

FOUND = 0.1
"""From this value on a pixel of the matte belongs to a subject."""
HALF = 0.5
SECOND = 0.2
"""An island with this share of the largest one's opacity is a subject of its own."""
OUTLINE_PX = 3.0
"""So near an outline, half a value is an edge and no doubt."""
UNSURE = 0.75
"""Below this confidence it is said."""
BORDER_SHARE = 0.05
"""Share of a side of the photo from which on the subject touches it. The lower side does not count:
most portraits end there."""
ASIDE_PX = 4
"""Distance from the outline at which colours are compared."""
LEAST_CONTRAST = 6.0
"""CIE 1976 difference of colours below which an outline is hardly seen."""
LEAST_OUTLINE = 0.08
"""Share of the photo's side that an outline of low contrast must have to be worth a word."""
LEAST_SIDE = 0.02
"""Of a box, as a share of the photo's side."""
SIDES = {"left": (0, -1), "right": (0, 1), "top": (-1, 0), "bottom": (1, 0)}
"""Name -> (rows, columns) of the way out."""


@dataclass(frozen=True)
class Finding:
    """What is said of a matte."""

    confidence: float
    """0..1: how far the map is from undecided, away from outlines; 0 without a subject."""
    notes: tuple[str, ...]
    """Codes of tasks/imaging/notes.py."""


def part_of(box: str, image: Image) -> Part:
    """Rows and columns of a box of a model's parameters; without one, all of them."""
    if not box:
        return slice(0, image.shape[0]), slice(0, image.shape[1])
    left, top, right, bottom = (float(share) for share in box.split(","))
    return _span(top, bottom, image.shape[0]), _span(left, right, image.shape[1])


def _span(first: float, last: float, side: int) -> slice:
    """The pixels between two shares of a side, whichever is the smaller one."""
    low, high = sorted((first, last))
    start = min(int(low * side), side - 1)
    return slice(start, min(side, max(start + max(1, int(LEAST_SIDE * side)), round(high * side))))


def inside(point: str, part: Part, image: Image) -> tuple[float, float] | None:
    """A point of a model's parameters as (across, down) in shares of a part of the image."""
    if not point:
        return None
    shares = (float(share) for share in point.split(","))
    across, down = (
        (share * side - span.start) / (span.stop - span.start)
        for share, side, span in zip(shares, image.shape[1::-1], part[::-1], strict=True)
    )
    return across, down


def keep(matte: Tensor, point: tuple[float, float] | None, only_largest: bool) -> Tensor:
    """The matte, H x W of 0..1, with one of its islands alone: that at the point (across, down, as
    shares of the photo) or nearest to it, else the largest; without either, all of it."""
    if point is None and not only_largest:
        return matte
    count, labels = cv2.connectedComponents((matte > FOUND).astype(np.uint8), connectivity=8)
    if count < 2:
        return matte
    if point is None:
        chosen = int(np.bincount(labels.ravel(), matte.ravel())[1:].argmax()) + 1
    else:
        chosen = _nearest(np.asarray(labels, np.int32), point)
    return np.where(labels == chosen, matte, np.float32(0))


def _nearest(labels: NDArray[np.int32], point: tuple[float, float]) -> int:
    rows, columns = np.nonzero(labels)
    across, down = (share * side for share, side in zip(point, labels.shape[::-1], strict=True))
    nearest = int(np.hypot(rows + 0.5 - down, columns + 0.5 - across).argmin())
    return int(labels[rows[nearest], columns[nearest]])


def judge(chances: Tensor, matte: Tensor, image: Image) -> Finding:
    """How sure the matte is, and what a person should know of it.

    `chances`: the mean of the network's maps, H x W of 0..1; `matte`: what became of it. The image
    may have any size.
    """
    solid = (matte > HALF).astype(np.uint8)
    if not solid.any():
        return Finding(0.0, ("no_subject",))
    confidence = _confidence(chances, solid)
    notes = ["unsure"] if confidence < UNSURE else []
    if _count(matte) > 1:
        notes.append("several_subjects")
    if _touches(solid):
        notes.append("touches_border")
    small = geometry.resize(image, *matte.shape)
    return Finding(round(confidence, 3), (*notes, *_low_contrast(solid, small)))


def _confidence(chances: Tensor, solid: NDArray[np.uint8]) -> float:
    """How decided the map is where anything was found, except beside outlines."""
    distance = sum(cv2.distanceTransform(area, cv2.DIST_L2, 5) for area in (solid, 1 - solid))
    judged = (distance > OUTLINE_PX) & ((chances > FOUND) | (solid > 0))
    return float(np.abs(2 * chances[judged] - 1).mean()) if judged.any() else 1.0


def _count(matte: Tensor) -> int:
    """Subjects, without what is small beside the largest one."""
    _, labels = cv2.connectedComponents((matte > HALF).astype(np.uint8), connectivity=8)
    sizes = np.bincount(labels.ravel())[1:]
    return int((sizes >= SECOND * sizes.max()).sum())


def _touches(solid: NDArray[np.uint8]) -> bool:
    return any(float(side.mean()) > BORDER_SHARE for side in (solid[0], solid[:, 0], solid[:, -1]))


def _around(solid: NDArray[np.uint8]) -> Part:
    """The rows and columns with everything whose colours are compared, and a pixel more, as colours
    are averaged."""
    spans = []
    for axis, count in zip((1, 0), solid.shape, strict=True):
        places, margin = np.flatnonzero(solid.max(axis)), ASIDE_PX + 1
        spans.append(
            slice(max(0, int(places[0]) - margin), min(count, int(places[-1]) + margin + 1))
        )
    return spans[0], spans[1]


def _low_contrast(solid: NDArray[np.uint8], small: Image) -> Iterator[str]:
    """Codes of the sides on which subject and ground have almost one colour."""
    rows, columns = _around(solid)
    colours = cv2.cvtColor(small[rows, columns].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    smooth, around = cv2.blur(colours, (3, 3)), np.pad(solid, 1, constant_values=1)
    first = np.array([rows.start, columns.start])
    for name, (down, across) in SIDES.items():
        # What is outside counts as subject, as no outline is there.
        next_to = around[1 + down :, 1 + across :][: solid.shape[0], : solid.shape[1]]
        edges = np.argwhere(solid > next_to)
        aside = ASIDE_PX * np.array([down, across])
        ways = np.clip([edges - aside, edges + aside], 0, np.array(solid.shape) - 1)
        within, beyond = (tuple(way.T) for way in ways)
        clear = (solid[within] == 1) & (solid[beyond] == 0)
        if clear.sum() < LEAST_OUTLINE * max(solid.shape):
            continue
        some, others = (smooth[tuple((way - first)[clear].T)] for way in ways)
        difference = np.linalg.norm(some - others, axis=-1)
        if np.median(difference) < LEAST_CONTRAST:
            yield f"low_contrast_{name}"
