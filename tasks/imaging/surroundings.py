"""Whether what lies around a thin peak lies around a hair: a smooth ground, peaks and no dips."""

from typing import NamedTuple

import cv2
import numpy as np

from tasks.imaging.alpha import Matte, Radius, box_mean
from tasks.imaging.parts import Part, busy
from tasks.imaging.types import Alpha

MIDDLE_PX = 19
"""Side of the median filter that gives the background's level."""
_SKEW = (0.2, 0.5)
"""(peaks - dips) / (peaks + dips), squared: up to the first texture, from the second hair."""
_SMOOTH = (0.15, 0.06)
"""Deviation of the background's level: restless, smooth."""
_SHARE_STEPS, SHARE_LOWEST = 127.0, -0.5
"""How shares from -0.5 to 1.5 become bytes, which the median filter needs."""
_TILE = (64, 64)
"""Rows and columns that are worked on at once; around them, a margin is needed."""
_SUMMED_PX = 16
"""From this radius on a box is summed, which takes as long for every radius, and not dilated."""


class Scene(NamedTuple):
    """What the search works on; all arrays are H x W."""

    share: Matte
    """Of the rim's colour in each pixel: 0 is the background, 1 the rim; from -0.5 to 1.5."""
    grain: Matte
    """The difference in share that noise alone can make."""
    outside: Alpha
    """1 at least a pixel away from the subject, else 0."""
    background: Matte
    """The share without the peaks that are narrower than _WIDEST_PX."""
    matte: Alpha

    def window(self, part: Part) -> "Scene":
        """The same of a part."""
        return Scene(*(array[part] for array in self))


def judged(scene: Scene, needed: Alpha, near: Radius) -> Matte:
    """Where needed, 1 if the surroundings are those of a hair, less to 0 if not; elsewhere 0."""
    levels = _levels(scene, grown(needed, near))
    found = np.zeros(needed.shape, np.float32)
    for part in busy(needed, _TILE):
        window, inner = _with_margin(part, near[0])
        around, level = scene.window(window), levels[window]
        result = _skewed(around, level, near) * _smooth(around, level, near)
        np.copyto(found[part], result[inner], where=needed[part] > 0)
    return found


def _with_margin(part: Part, margin: int) -> tuple[Part, Part]:
    """A part with what is around it, and where it lies in that."""
    rows, columns = (slice(max(0, span.start - margin), span.stop + margin) for span in part)
    inner = tuple(
        slice(span.start - outer.start, span.stop - outer.start)
        for span, outer in zip(part, (rows, columns), strict=True)
    )
    return (rows, columns), (inner[0], inner[1])


def _levels(scene: Scene, needed: Alpha) -> Matte:
    """The median of the share around each pixel, where needed; elsewhere it may be anything."""
    levels = np.zeros(needed.shape, np.float32)
    for part in busy(needed, _TILE):
        window, inner = _with_margin(part, MIDDLE_PX // 2)
        levels[part] = _level(scene.window(window))[inner]
    return levels


def _level(scene: Scene) -> Matte:
    """The median of the share around each pixel."""
    steps = np.where(scene.outside > 0, scene.share, scene.background)
    steps = np.clip((steps - SHARE_LOWEST) * _SHARE_STEPS, 0, 255)
    middle = cv2.medianBlur(steps.astype(np.uint8), MIDDLE_PX)
    return np.asarray(middle.astype(np.float32) / _SHARE_STEPS + SHARE_LOWEST, np.float32)


def _skewed(scene: Scene, level: Matte, radius: Radius) -> Matte:
    """1 where there are peaks and no dips, 0 in texture, which has both."""
    off = (scene.share - level) * scene.outside
    peaks, dips = (
        box_mean(np.maximum(sign * off - scene.grain / 2, 0) ** 2, radius) for sign in (1, -1)
    )
    return ramp((peaks - dips) / (peaks + dips + 1e-5), _SKEW)


def _smooth(scene: Scene, level: Matte, radius: Radius) -> Matte:
    """1 where the background hardly changes, 0 where it has edges of its own."""
    weight = part_of(scene.outside, radius) + np.float32(1e-3)
    ground = level * scene.outside
    mean = box_mean(ground, radius) / weight
    square = box_mean(level * ground, radius) / weight
    return ramp(np.sqrt(np.maximum(square - mean**2, 0)), _SMOOTH)


def grown(mask: Alpha, radius: Radius) -> Alpha:
    """1 in a box around each 1."""
    size = 2 * radius[0] + 1, 2 * radius[1] + 1
    if max(radius) < _SUMMED_PX:
        return np.asarray(cv2.dilate(mask, np.ones(size, np.uint8)), np.uint8)
    counts = cv2.boxFilter(
        mask, cv2.CV_32S, size[::-1], normalize=False, borderType=cv2.BORDER_REFLECT
    )
    return (counts > 0).view(np.uint8)


def part_of(mask: Alpha, radius: Radius) -> Matte:
    """The mean of 0 and 1 over a box around each pixel: `box_mean`, but of integers."""
    size = (2 * radius[1] + 1, 2 * radius[0] + 1)
    return cv2.boxFilter(mask, cv2.CV_32F, size, borderType=cv2.BORDER_REFLECT)


def ramp(values: Matte, ends: tuple[float, float]) -> Matte:
    """0 at the first end, 1 at the second; the first may be the higher one."""
    first, last = ends
    ramp = values - np.float32(first)
    ramp /= np.float32(last - first)
    return np.asarray(np.clip(ramp, 0, 1, out=ramp), np.float32)
