"""Composites with exactly known alpha: drawn subjects over the example photos, always the same.

A subject is drawn four times as large and shrunk, so that its alpha is the area that it covers:
hair strands thinner than a pixel, outlines out of focus, glass that the background shines through.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tasks.imaging.types import Alpha, Image

SIDE = 640
OVER = 4
"""Drawn so many times larger."""
EXAMPLES = Path(__file__).parents[2] / "examples"
CROPS = {
    "coffee": (0, 0, 260, 170),
    "chelsea": (0, 0, 140, 140),
    "rocket": (380, 10, 640, 230),
    "astronaut": (330, 0, 512, 170),
}
"""Photo -> (left, top, right, bottom) of a part without the subject."""
DEFOCUS_PX = 2.0
"""Of the background, as behind a subject that is in focus."""

Drawing = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Colours H x W x 3 float32 0..255, alpha H x W float32 0..1, both OVER times larger."""


@dataclass(frozen=True)
class Composite:
    """One picture whose alpha is known."""

    name: str
    image: Image
    alpha: Alpha


def composites() -> Iterator[Composite]:
    """Every subject over every background."""
    for kind, draw in SUBJECTS.items():
        colours, alpha = (shrunk(layer) for layer in draw(np.random.default_rng(7)))
        for photo, crop in CROPS.items():
            yield composed(f"{kind} on {photo}", colours, alpha, _background(photo, crop))


def held_out(seed: int) -> Iterator[Composite]:
    """The same kinds with other hairs, colours, places, sizes and sides, for no tuning to see."""
    rng = np.random.default_rng(seed)
    for kind, draw in SUBJECTS.items():
        for photo, crop in CROPS.items():
            colours, alpha = (shrunk(layer) for layer in _varied(draw(rng), rng))
            back = np.ascontiguousarray(_background(photo, crop)[:, ::-1])
            yield composed(f"{kind} on {photo}, {seed}", colours, alpha, back)


def composed(name: str, colours: Any, alpha: Any, back: Any) -> Composite:
    mixed = colours * alpha[..., None] + back * (1 - alpha[..., None])
    grain = np.random.default_rng(11).normal(0, 2, mixed.shape)
    image = np.clip(mixed + grain + 0.5, 0, 255).astype(np.uint8)
    return Composite(name, image, np.rint(alpha * 255).astype(np.uint8))


def _varied(drawing: Drawing, rng: np.random.Generator) -> Drawing:
    """Mirrored or not, up to 20 % larger, moved aside, its colours swapped and lightened."""
    side = drawing[1].shape[0]
    scale = rng.uniform(1, 1.2)
    across = scale * rng.choice([-1, 1])
    aside = rng.uniform(-0.08, 0.08) * side
    matrix = np.array(
        [[across, 0, side / 2 * (1 - across) + aside], [0, scale, side * (1 - scale)]]
    )
    swapped = drawing[0][..., rng.permutation(3)]
    lighter = 255 - (255 - swapped) * rng.uniform(0.4, 1)
    colours, alpha = (
        cv2.warpAffine(layer, matrix, (side, side)) for layer in (lighter, drawing[1])
    )
    return np.asarray(colours, np.float32), np.asarray(alpha, np.float32)


def _background(photo: str, crop: tuple[int, int, int, int]) -> np.ndarray[Any, Any]:
    pixels = cv2.imread(str(EXAMPLES / f"{photo}.jpg"))
    if pixels is None:
        raise FileNotFoundError(EXAMPLES / f"{photo}.jpg")
    left, top, right, bottom = crop
    part = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)[top:bottom, left:right]
    large = cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return cv2.GaussianBlur(large, (0, 0), DEFOCUS_PX).astype(np.float32)


def shrunk(layer: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(cv2.resize(layer, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)


def blank() -> tuple[Any, Any]:
    side = SIDE * OVER
    return np.zeros((side, side, 3), np.float32), np.zeros((side, side), np.float32)


def px(*values: float) -> tuple[int, ...]:
    return tuple(round(value * OVER) for value in values)


def shade(colours: Any, alpha: Any) -> Drawing:
    """Light from the upper left, and grain: a flat area looks like no object."""
    side = colours.shape[0]
    rows, columns = np.mgrid[:side, :side].astype(np.float32) / side
    light = 1.15 - 0.3 * rows - 0.25 * columns
    return np.clip(colours * light[..., None], 0, 255), alpha


def _bust(rng: np.random.Generator, *, strands: int) -> Drawing:
    """Head, neck, shoulders; hair with single strands that leave it."""
    colours, alpha = blank()
    parts: list[tuple[Callable[..., Any], tuple[int, ...], tuple[int, ...], tuple[int, int, int]]]
    parts = [
        (cv2.ellipse, px(320, 690), px(230, 260), (52, 74, 120)),
        (cv2.ellipse, px(320, 235), px(128, 150), (58, 36, 24)),
        (cv2.ellipse, px(320, 400), px(52, 90), (196, 148, 122)),
        (cv2.ellipse, px(320, 275), px(92, 125), (222, 174, 146)),
    ]
    for draw, middle, axes, colour in parts:
        for layer, value in ((colours, colour), (alpha, 1.0)):
            draw(layer, middle, axes, 0, 0, 360, value, -1, cv2.LINE_AA)
    for x in (-36, 36):
        cv2.ellipse(colours, px(320 + x, 260), px(13, 8), 0, 0, 360, (245, 240, 235), -1)
        cv2.circle(colours, px(320 + x, 260), 6 * OVER, (40, 30, 24), -1)
    cv2.ellipse(colours, px(320, 345), px(30, 9), 0, 0, 360, (172, 84, 80), -1)
    cv2.ellipse(colours, px(320, 300), px(12, 18), 0, 0, 180, (190, 138, 112), 3 * OVER)
    for _ in range(strands):
        _strand(colours, alpha, rng)
    return shade(colours, alpha)


def _strand(colours: Any, alpha: Any, rng: np.random.Generator) -> None:
    """One hair: a bent line from the outline outwards, a quarter to one pixel wide."""
    angle = rng.uniform(np.pi * 0.85, np.pi * 2.15)
    start = np.array([320 + 122 * np.cos(angle), 235 + 144 * np.sin(angle)])
    way = np.linspace(0, 1, 24)[:, None]
    bend = angle + rng.normal(0, 0.5)
    length = rng.uniform(15, 70)
    first, last = (np.array([np.cos(a), np.sin(a)]) for a in (angle, bend))
    points = start + length * (way * first * (1 - way) + way**2 * (first + last) / 2)
    line = np.rint(points * OVER).astype(np.int32)[None]
    width = int(rng.integers(1, OVER + 1))
    tone = rng.uniform(0.7, 1.5)
    cv2.polylines(colours, line, False, (58 * tone, 36 * tone, 24 * tone), width + 2 * OVER)
    cv2.polylines(alpha, line, False, 1.0, width, cv2.LINE_AA)


def _ball(rng: np.random.Generator) -> Drawing:
    """A striped ball, its outline out of focus."""
    colours, alpha = blank()
    colours[:] = (214, 60, 44)
    for k in range(-3, 4):
        cv2.ellipse(colours, px(320, 330), px(60 * abs(k) + 8, 190), 0, 0, 360,
                    (240, 222, 90), 9 * OVER)  # fmt: skip
    cv2.circle(alpha, px(320, 330), 185 * OVER, 1.0, -1, cv2.LINE_AA)
    return shade(colours, cv2.GaussianBlur(alpha, (0, 0), 5 * OVER))


def _bottle(rng: np.random.Generator) -> Drawing:
    """An opaque cap and label on a body that lets 35 % of the background through."""
    colours, alpha = blank()
    colours[:] = (24, 104, 58)
    cv2.rectangle(alpha, px(225, 250), px(415, 600), 0.65, -1)
    cv2.ellipse(alpha, px(320, 252), px(95, 70), 0, 180, 360, 0.65, -1)
    cv2.rectangle(alpha, px(290, 110), px(350, 200), 0.65, -1)
    for layer, value in ((colours, (236, 228, 208)), (alpha, 1.0)):
        cv2.rectangle(layer, px(225, 340), px(415, 500), value, -1)
    for layer, value in ((colours, (196, 160, 48)), (alpha, 1.0)):
        cv2.rectangle(layer, px(282, 62), px(358, 112), value, -1)
    cv2.circle(colours, px(320, 420), 52 * OVER, (150, 40, 36), -1)
    cv2.line(colours, px(245, 270), px(245, 330), (150, 220, 170), 7 * OVER)
    return shade(colours, cv2.GaussianBlur(alpha, (0, 0), OVER / 2))


SUBJECTS: dict[str, Callable[[np.random.Generator], Drawing]] = {
    "hair": lambda rng: _bust(rng, strands=220),
    "outline": lambda rng: _bust(rng, strands=0),
    "soft ball": _ball,
    "glass": _bottle,
}
