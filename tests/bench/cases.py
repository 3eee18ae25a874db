"""Composites of what goes wrong with cut-outs, with exactly known alpha, always the same ones.

Drawn as in composites.py: busy and plain grounds, white on white, dark on dark, a soft shadow
(which is not the subject), fur, glass, and holes: in a handle, between a racket's strings and a
wheel's spokes.
"""

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from composites import OVER, SIDE, SUBJECTS, Composite, Drawing, blank, composed, px, shade, shrunk

Rng = np.random.Generator
Ground = np.ndarray[Any, Any]
"""SIDE x SIDE x 3 float32, 0..255."""
SEEDS = (1, 2)
"""Of each case: other places, sizes and colours."""
STRANDS = 2600
"""Of fur."""


def cases() -> Iterator[Composite]:
    """Every case with every seed."""
    for name, (draw, ground, tone) in CASES.items():
        for seed in SEEDS:
            rng = np.random.default_rng(seed)
            colours, alpha = (shrunk(layer) for layer in draw(rng))
            colours = np.clip(colours * rng.uniform(*tone), 0, 255)
            back = ground(rng)
            if name == "soft shadow":
                back = back * (1 - 0.55 * _cast(alpha)[..., None])
            yield composed(f"{name}, {seed}", colours, alpha, back)


def _cast(alpha: Ground) -> Ground:
    """The shadow of a subject: its lower half, flattened, moved aside and blurred."""
    rows = np.flatnonzero(alpha.max(1) > 0.5)
    foot = float(rows[-1])
    matrix = np.array([[1, 0.9, -0.9 * foot], [0, 0.25, 0.75 * foot]])
    return cv2.GaussianBlur(cv2.warpAffine(alpha, matrix, (SIDE, SIDE)), (0, 0), 9)


def _plain(low: int, high: int) -> Callable[[Rng], Ground]:
    """A wall of one grey, lit from one side, almost of no colour."""

    def ground(rng: Rng) -> Ground:
        light = np.linspace(0.97, 1.03, SIDE, dtype=np.float32)[None, :, None]
        colour = rng.uniform(low, high) + rng.uniform(-4, 4, 3)
        return np.clip(np.ones((SIDE, SIDE, 1), np.float32) * light * colour, 0, 255)

    return ground


def _foliage(rng: Rng) -> Ground:
    """Leaves of many greens and sizes, with light between them."""
    leaves = np.full((SIDE, SIDE, 3), (70, 90, 50), np.float32)
    for _ in range(1500):
        middle = tuple(int(v) for v in rng.integers(0, SIDE, 2))
        axes = tuple(int(v) for v in rng.integers(4, 26, 2))
        tone = rng.uniform(0.35, 1.5)
        green = (60 * tone + 20, 105 * tone, 40 * tone)
        cv2.ellipse(leaves, middle, axes, rng.uniform(0, 180), 0, 360, green, -1, cv2.LINE_AA)
    return np.clip(cv2.GaussianBlur(leaves, (0, 0), 2), 0, 255)


def _planks(rng: Rng) -> Ground:
    """A table of planks: straight dark joints, and grain along them."""
    grain = cv2.GaussianBlur(rng.normal(0, 40, (SIDE, SIDE)), (0, 0), sigmaX=30, sigmaY=1)
    wood = np.array([168, 124, 84]) + grain[..., None] * 4
    for y in range(int(rng.integers(20, 90)), SIDE, 92):
        wood[y : y + 3] *= 0.45
    return np.clip(wood, 0, 255).astype(np.float32)


def _scaled(rng: Rng) -> tuple[float, int, int]:
    """A scale and a middle near that of the picture."""
    return rng.uniform(0.85, 1.1), int(rng.integers(295, 346)), int(rng.integers(300, 341))


def _mug(colour: tuple[int, int, int]) -> Callable[[Rng], Drawing]:
    def draw(rng: Rng) -> Drawing:
        """A cup whose handle has a hole that the ground is seen through."""
        colours, alpha = blank()
        scale, x, y = _scaled(rng)
        half, tall = 120 * scale, 160 * scale
        colours[:] = colour
        cv2.rectangle(alpha, px(x - half, y - tall), px(x + half, y + tall), 1.0, -1)
        cv2.ellipse(alpha, px(x, y + tall), px(half, 36 * scale), 0, 0, 360, 1.0, -1)
        cv2.ellipse(alpha, px(x, y - tall), px(half, 36 * scale), 0, 0, 360, 1.0, -1)
        across, down = 78 * scale, 96 * scale
        handle = px(x + half, y), px(across, down)
        cv2.ellipse(alpha, *handle, 0, -100, 100, 1.0, round(26 * scale * OVER), cv2.LINE_AA)
        inner = np.array(colour) * 0.72
        cv2.ellipse(colours, px(x, y - tall), px(half * 0.9, 28 * scale), 0, 0, 360, inner.tolist(),
                    -1)  # fmt: skip
        columns = np.linspace(-1.4, 1.4, SIDE * OVER)[None, :, None]
        colours *= (1 - 0.16 * columns**2).astype(np.float32)
        return shade(colours, alpha)

    return draw


def _racket(rng: Rng) -> Drawing:
    """A ring with strings that the ground is seen through, and a grip."""
    colours, alpha = blank()
    scale, x, y = _scaled(rng)
    middle, axes = (x, y - 90 * scale), (130 * scale, 165 * scale)
    colours[:] = (226, 232, 236)
    for step in np.arange(-0.95, 1, 0.105):
        reach = float(np.sqrt(1 - step**2))
        for first, last in (((step, -reach), (step, reach)), ((-reach, step), (reach, step))):
            ends = [(middle[0] + p[0] * axes[0], middle[1] + p[1] * axes[1]) for p in (first, last)]
            cv2.line(alpha, px(*ends[0]), px(*ends[1]), 1.0, 2 * OVER, cv2.LINE_AA)
    red = rng.permutation([196, 40, 44]).tolist()
    for layer, value in ((colours, red), (alpha, 1.0)):
        cv2.ellipse(layer, px(*middle), px(*axes), 0, 0, 360, value, round(17 * scale) * OVER)
    for layer, value in ((colours, (40, 40, 46)), (alpha, 1.0)):
        top, foot = (x - 13 * scale, y + 78 * scale), (x + 13 * scale, y + 290 * scale)
        cv2.rectangle(layer, px(*top), px(*foot), value, -1)
    return shade(colours, alpha)


def _wheel(rng: Rng) -> Drawing:
    """A tyre, a rim, a hub and spokes."""
    colours, alpha = blank()
    scale, x, y = _scaled(rng)
    outer = 215 * scale
    colours[:] = (34, 34, 38)
    for turn in np.arange(0, 2 * np.pi, np.pi / 12):
        end = (x + outer * np.cos(turn), y + outer * np.sin(turn))
        for layer, value in ((colours, (150, 154, 160)), (alpha, 1.0)):
            cv2.line(layer, px(x, y), px(*end), value, 3 * OVER, cv2.LINE_AA)
    for radius, width, colour in ((outer, 26, (34, 34, 38)), (outer * 0.9, 9, (176, 180, 186))):
        for layer, value in ((colours, colour), (alpha, 1.0)):
            cv2.circle(layer, px(x, y), round(radius * OVER), value, round(width * scale) * OVER)
    for layer, value in ((colours, (70, 72, 80)), (alpha, 1.0)):
        cv2.circle(layer, px(x, y), round(30 * scale * OVER), value, -1, cv2.LINE_AA)
    return shade(colours, alpha)


def _camera(rng: Rng) -> Drawing:
    """A black box with a lens."""
    colours, alpha = blank()
    scale, x, y = _scaled(rng)
    wide, tall = 200 * scale, 120 * scale
    colours[:] = (44, 44, 47)
    cv2.rectangle(alpha, px(x - wide, y - tall), px(x + wide, y + tall), 1.0, -1)
    cv2.rectangle(alpha, px(x - 70 * scale, y - tall - 46 * scale), px(x + 70 * scale, y), 1.0, -1)
    for radius, colour in ((92, (24, 24, 27)), (76, (62, 62, 70)), (54, (18, 18, 30)),
                           (20, (90, 80, 130))):  # fmt: skip
        cv2.circle(colours, px(x, y), round(radius * scale * OVER), colour, -1, cv2.LINE_AA)
    corner = (x + wide - 60 * scale, y - tall + 14 * scale)
    cv2.rectangle(colours, px(*corner), px(corner[0] + 40, corner[1] + 22), (150, 150, 150), -1)
    return shade(colours, alpha)


def _animal(rng: Rng) -> Drawing:
    """A body and a head with ears, and fur all around."""
    colours, alpha = blank()
    coat = np.array([172, 120, 70]) * rng.uniform(0.7, 1.2)
    scale, x, y = _scaled(rng)
    ellipses = [((x, y + 150), (170, 200)), ((x, y - 90), (112, 100))]
    for middle, axes in ellipses:
        where = px(*middle), px(*(axis * scale for axis in axes))
        for layer, value in ((colours, coat.tolist()), (alpha, 1.0)):
            cv2.ellipse(layer, *where, 0, 0, 360, value, -1, cv2.LINE_AA)
    for side in (-1, 1):
        ear = np.array([px(x + side * 30, y - 150), px(x + side * 105, y - 250),
                        px(x + side * 100, y - 110)], np.int32)  # fmt: skip
        for layer, value in ((colours, (coat * 0.7).tolist()), (alpha, 1.0)):
            cv2.fillPoly(layer, [ear], value, cv2.LINE_AA)
        cv2.circle(colours, px(x + side * 42, y - 100), 15 * OVER, (30, 40, 24), -1)
    cv2.ellipse(colours, px(x, y - 60), px(16, 11), 0, 0, 360, (70, 40, 44), -1)
    for _ in range(STRANDS):
        middle, axes = ellipses[int(rng.integers(0, 2))]
        _hair(colours, alpha, rng, middle, [axis * scale for axis in axes], coat)
    return shade(colours, alpha)


def _hair(colours: Any, alpha: Any, rng: Rng, middle: Any, axes: Any, coat: Any) -> None:
    """One hair of fur, from inside the outline outwards."""
    turn = rng.uniform(0, 2 * np.pi)
    out = np.array([np.cos(turn), np.sin(turn)])
    start = np.array(middle) + out * axes * rng.uniform(0.93, 1)
    end = start + (out + rng.normal(0, 0.35, 2)) * rng.uniform(6, 26)
    line = np.rint(np.array([start, end]) * OVER).astype(np.int32)[None]
    colour = (coat * rng.uniform(0.7, 1.3)).tolist()
    width = int(rng.integers(1, OVER + 2))
    cv2.polylines(colours, line, False, colour, width + 2 * OVER)
    cv2.polylines(alpha, line, False, 1.0, width, cv2.LINE_AA)


WHITE, BLUE = (242, 241, 238), (52, 92, 168)
PLAIN, PALE, DARK = _plain(120, 190), _plain(228, 242), _plain(26, 40)
SAME = (1.0, 1.0)
CASES: dict[str, tuple[Callable[[Rng], Drawing], Callable[[Rng], Ground], tuple[float, float]]] = {
    "busy": (SUBJECTS["hair"], _foliage, (0.9, 1.3)),
    "planks": (SUBJECTS["outline"], _planks, (0.9, 1.2)),
    "plain": (SUBJECTS["hair"], PLAIN, SAME),
    "white on white": (_mug(WHITE), PALE, SAME),
    "dark on dark": (_camera, DARK, SAME),
    "soft shadow": (SUBJECTS["soft ball"], PLAIN, SAME),
    "fur": (_animal, PLAIN, SAME),
    "fur on leaves": (_animal, _foliage, (1.0, 1.5)),
    "glass": (SUBJECTS["glass"], PLAIN, SAME),
    "handle": (_mug(BLUE), _planks, SAME),
    "racket": (_racket, _foliage, SAME),
    "wheel": (_wheel, PLAIN, SAME),
}
"""Name -> the subject, its ground, and by how much the subject is lightened."""
