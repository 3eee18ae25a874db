"""What a sample may look like: turned, blurred, recoloured, half hidden, or with a drawn mask."""

import math
import random
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.models.nets.faces import CROP, MARGIN
from tasks.training.facemask.data import BARE, CONTEXT, MASK, NOTHING, Sample


def augmented(
    sample: Sample, chance: random.Random, things: Sequence[Sample]
) -> tuple[NDArray[Any], int]:
    """A random CROP x CROP view of the sample, and its class.

    A bare face may get a drawn mask, which makes it a masked one, or one of `things` (crops that
    show no face) in front of its mouth, which does not.
    """
    pixels, label = sample.pixels, sample.label
    if label == BARE and sample.heat > 0.5 and chance.random() < 0.15:
        pixels, label = draw_mask(pixels, chance), MASK
    elif label != NOTHING and things and chance.random() < 0.25:
        pixels = _partly_hidden(chance.choice(things).pixels, pixels, chance, is_bare=label == BARE)
    side = pixels.shape[0] / CONTEXT * chance.uniform(0.82, 1.2)
    middle = pixels.shape[0] / 2
    x, y = (middle + chance.uniform(-0.09, 0.09) * side for _ in range(2))
    angle, mirrored = chance.gauss(0, 8), chance.random() < 0.5
    turn = cv2.getRotationMatrix2D((x, y), angle, CROP / side)
    turn[:, 2] += np.array([CROP / 2 - x, CROP / 2 - y])
    crop = cv2.warpAffine(
        _softened(pixels, side, chance), turn, (CROP, CROP), borderValue=(114,) * 3
    )
    if mirrored:
        crop = np.ascontiguousarray(crop[:, ::-1])
    return _recoloured(_degraded(crop, chance), chance), label


def _partly_hidden(
    thing: NDArray[Any], pixels: NDArray[Any], chance: random.Random, *, is_bare: bool
) -> NDArray[Any]:
    """The face with a piece of `thing` in front.

    A head, a hand or a telephone may hide a mouth without being a mask. A mask is never hidden,
    only hair, forehead and eyes.
    """
    side = pixels.shape[0]
    face = side / CONTEXT / (1 + 2 * MARGIN)
    width, height = chance.uniform(0.3, 1.1) * face, chance.uniform(0.3, 0.7) * face
    low, high = (0.1, 0.65) if is_bare and chance.random() < 0.7 else (-0.7, -0.25)
    x = side / 2 + chance.uniform(-0.5, 0.5) * face
    y = side / 2 + chance.uniform(low, high) * face
    shape = ((x, y), (width, height), chance.uniform(-40, 40))
    cover = np.zeros((side, side), np.uint8)
    if chance.random() < 0.5:
        cv2.ellipse(cover, shape, 255, -1)
    else:
        cv2.fillPoly(cover, [cv2.boxPoints(shape).round().astype(np.int32)], 255)
    soft = cv2.GaussianBlur(cover, (0, 0), max(0.5, side / 120)).astype(np.float32)[:, :, None]
    layer = cv2.resize(thing, (side, side), interpolation=cv2.INTER_LINEAR)
    mixed: NDArray[Any] = (pixels + (layer.astype(np.float32) - pixels) * soft / 255).astype(
        np.uint8
    )
    return mixed


def _softened(pixels: NDArray[Any], side: float, chance: random.Random) -> NDArray[Any]:
    """Averages what will be shrunk, as happens when the model runs."""
    blur = side / CROP
    return cv2.GaussianBlur(pixels, (0, 0), 0.5 * blur) if blur > 1.3 else pixels


def _degraded(crop: NDArray[Any], chance: random.Random) -> NDArray[Any]:
    """Fewer pixels, blur and JPEG: what cameras and messengers do to a face."""
    if chance.random() < 0.5:
        side = round(math.exp(chance.uniform(math.log(14), math.log(80))))
        small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
        crop = cv2.resize(small, (CROP, CROP), interpolation=cv2.INTER_LINEAR)
    if chance.random() < 0.15:
        crop = cv2.GaussianBlur(crop, (0, 0), chance.uniform(0.4, 1.8))
    if chance.random() < 0.25:
        quality = [cv2.IMWRITE_JPEG_QUALITY, chance.randint(25, 85)]
        crop = np.asarray(cv2.imdecode(cv2.imencode(".jpg", crop, quality)[1], cv2.IMREAD_COLOR))
    return crop


def _recoloured(crop: NDArray[Any], chance: random.Random) -> NDArray[Any]:
    """Other light and contrast, a colour cast or no colour; something in front of a corner."""
    gains = np.array([chance.gauss(1, 0.05) for _ in range(3)]) * chance.uniform(0.7, 1.3)
    shifted = (crop.astype(np.float32) - 127) * gains + 127 + chance.uniform(-25, 25)
    crop = np.clip(shifted, 0, 255).astype(np.uint8)
    if chance.random() < 0.12:
        crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if chance.random() < 0.15:
        width, height = (chance.randint(12, 40) for _ in range(2))
        x, y = chance.choice((0, CROP - width)), chance.choice((0, CROP - height))
        colour = [chance.randint(0, 255) for _ in range(3)]
        crop[y : y + height, x : x + width] = colour
    return crop


def draw_mask(pixels: NDArray[Any], chance: random.Random) -> NDArray[Any]:
    """A mask drawn over the lower half of the face in the middle.

    So the same people are in both classes, and nothing but the mask tells them apart.
    """
    side = pixels.shape[0]
    face = (
        side / CONTEXT / (1 + 2 * MARGIN)
    )  # the face's box, within the square, within the context
    x, y = side / 2, side / 2
    top, chin = y + chance.uniform(-0.06, 0.06) * face, y + chance.uniform(0.44, 0.55) * face
    wide, low = chance.uniform(0.33, 0.42) * face, chance.uniform(0.2, 0.3) * face
    outline = [
        (x - wide, top + 0.04 * face),
        (x, top - chance.uniform(0, 0.12) * face),
        (x + wide, top + 0.04 * face),
        (x + wide * 0.95, y + 0.3 * face),
        (x + low, chin),
        (x - low, chin),
        (x - wide * 0.95, y + 0.3 * face),
    ]
    corners = np.array(outline, np.float32).round().astype(np.int32)
    tones = ((235, 240, 240), (150, 190, 215), (40, 40, 45), (120, 170, 130), (205, 160, 170))
    tone = np.array(chance.choice(tones)) + chance.randint(-18, 18)
    layer, cover = pixels.copy(), np.zeros((side, side), np.uint8)
    cv2.fillPoly(layer, [corners], [int(v) for v in np.clip(tone, 0, 255)])
    for k in range(chance.randint(0, 3)):  # folds
        level = round(y + (0.12 + 0.1 * k) * face)
        shade = [int(v) for v in np.clip(tone - 25, 0, 255)]
        cv2.line(layer, (round(x - wide), level), (round(x + wide), level), shade, 1)
    cv2.fillPoly(cover, [corners], 255)
    soft = (
        cv2.GaussianBlur(cover, (0, 0), max(0.5, side / 120)).astype(np.float32)[:, :, None] / 255
    )
    light = cv2.GaussianBlur(pixels, (0, 0), side / 16).astype(np.float32)
    shaded = layer * (0.75 + 0.25 * light / max(1.0, float(light.mean())))
    mixed: NDArray[Any] = np.clip(pixels * (1 - soft) + shaded * soft, 0, 255).astype(np.uint8)
    return mixed
