"""Closes gaps between the parts of a subject that have its own colours. No torch.

A network may take a white stripe of a red fish for ground, which leaves two parts of it.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging import geometry
from tasks.imaging.types import Alpha, Image, Tensor
from tasks.models.nets import saliency

SIDE, WIDTH_PX, LEAST_PX = 320, 25, 5
"""Size at which gaps are looked for, and how wide they are at most and at least."""
LIKE, SOME = 0.65, 0.012
"""The mean probability that a gap's colours are the subject's, and its share of the subject, from
which on it is the subject's."""
RATHER, BOX_PX = 0.4, 5
"""Probability, over a box of that side, from which on a pixel of such a gap is filled."""
SEEN, BESIDE_PX = 0.5, 3
"""From this value on there is the subject, and how far from a gap its sides may be."""
_BOX = np.ones((BOX_PX, BOX_PX), np.uint8)


def closed(matte: Tensor, image: Image) -> Tensor:
    """The matte, H x W of 0..1, without gaps that have the subject's colours; itself if none.

    The image may have any size.
    """
    coarse = geometry.resize(matte, SIDE, SIDE)
    body = (coarse > SEEN).astype(np.uint8)
    count, islands = cv2.connectedComponents(body, connectivity=8)
    if count <= 2:  # the label of nothing, and one island
        return matte
    _, labels, stats, _ = cv2.connectedComponentsWithStats(_gaps(body), connectivity=4)
    some = 1 + np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= SOME * body.sum())
    between = [label for label in some if _is_between(labels == label, islands)]
    if not between:
        return matte
    small = geometry.resize(image, SIDE, SIDE)
    like = saliency.likeness(small, coarse >= saliency.SURE, saliency.clear(coarse))
    own = [label for label in between if like[labels == label].mean() >= LIKE]
    if not own:
        return matte
    likely = np.asarray(cv2.blur(like, _BOX.shape) > RATHER)
    reached = np.asarray(cv2.dilate(np.isin(labels, own).view(np.uint8), _BOX), np.uint8)
    found = reached & (1 - body) & np.asarray(likely, np.uint8)
    return np.maximum(matte, geometry.resize(softly(found, body), *matte.shape))


def _gaps(body: Alpha) -> Alpha:
    """1 in what is narrow between parts of the subject or in its dents, else 0."""
    wide, least = (
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)) for side in (WIDTH_PX, LEAST_PX)
    )
    left, top, width, height = cv2.boundingRect(body)  # what is closed lies inside of it
    part = slice(top, top + height), slice(left, left + width)
    padded = np.pad(body[part], WIDTH_PX)
    grown = np.asarray(cv2.morphologyEx(padded, cv2.MORPH_CLOSE, wide), np.uint8)
    found = cv2.morphologyEx(grown & (1 - padded), cv2.MORPH_OPEN, least)
    gaps = np.zeros_like(body)
    gaps[part] = found[(slice(WIDTH_PX, -WIDTH_PX),) * 2]
    return gaps


def _is_between(gap: NDArray[np.bool_], islands: NDArray[Any]) -> bool:
    """Whether two islands lie beside a gap."""
    side = 2 * BESIDE_PX + 1
    near = cv2.dilate(gap.view(np.uint8), np.ones((side, side), np.uint8)) > 0
    return np.unique(islands[near & (islands > 0)]).size > 1


def softly(found: Alpha, body: Alpha) -> Tensor:
    """1 in what was found, softly to 0 where no subject is beside it."""
    soft = cv2.blur((found | body).astype(np.float32), (3, 3))
    around = cv2.dilate(found, np.ones((3, 3), np.uint8))
    return np.asarray(soft * around, np.float32)
