"""Draws labelled boxes that are legible on any photo, and without colour vision."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from tasks.imaging.types import Image

Colour = tuple[int, int, int]

_PALETTE: tuple[Colour, ...] = (
    (0, 158, 115),
    (213, 94, 0),
    (0, 114, 178),
    (240, 228, 66),
    (204, 121, 167),
    (86, 180, 233),
)
"""Okabe and Ito's colours, which people with any kind of colour vision can tell apart."""
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True)
class _Pen:
    """Sizes in pixels that suit the picture."""

    line: int
    pad: int
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont


def annotate(
    image: Image,
    boxes: NDArray[np.float32] | Sequence[Sequence[float]],
    labels: Sequence[str],
    scores: Sequence[float],
) -> Image:
    """The image with each box (x1, y1, x2, y2) outlined and tagged `label 97%`."""
    picture = Picture.fromarray(image)
    canvas, pen = ImageDraw.Draw(picture), _pen(image)
    for box, label, score in zip(boxes, labels, scores, strict=True):
        corners, colour = _ordered(box, picture.size), _colour(label)
        _outline(canvas, corners, colour, pen)
        _tag(canvas, corners, f"{label} {percent(score)}", colour, pen)
    return np.array(picture)


def percent(score: float) -> str:
    """`97%`; near the ends `99.7%`, cut off and not rounded, since 100% would mean certainty."""
    if 0.01 <= score < 0.99:
        return f"{score:.0%}"
    return f"{math.floor(score * 1000) / 10:g}%"


def _pen(image: Image) -> _Pen:
    side = max(image.shape[:2])
    text = min(96, max(12, side // 45))
    return _Pen(max(2, side // 400), max(2, text // 4), ImageFont.load_default(text))


def _colour(label: str) -> Colour:
    """The colour of a label, the same in every picture."""
    return _PALETTE[zlib.crc32(label.encode()) % len(_PALETTE)]


def _ordered(box: Sequence[float] | NDArray[np.float32], size: tuple[int, int]) -> list[int]:
    """Whole pixels inside the picture; left before right, top before bottom."""
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    across = sorted(min(max(x, 0), size[0] - 1) for x in (x1, x2))
    down = sorted(min(max(y, 0), size[1] - 1) for y in (y1, y2))
    return [across[0], down[0], across[1], down[1]]


def _outline(canvas: ImageDraw.ImageDraw, box: list[int], colour: Colour, pen: _Pen) -> None:
    """The colour with a thin contrasting line around it, visible on light and on dark."""
    around = [box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1]
    canvas.rectangle(around, outline=_text_colour(colour), width=pen.line + 2)
    canvas.rectangle(box, outline=colour, width=pen.line)


def _tag(canvas: ImageDraw.ImageDraw, box: list[int], text: str, colour: Colour, pen: _Pen) -> None:
    """A filled tag on the box's upper edge; inside the box if there is no room above."""
    left, top, right, bottom = canvas.textbbox((0, 0), text, font=pen.font)
    width, height = int(right - left) + 2 * pen.pad, int(bottom - top) + 2 * pen.pad
    x = max(0, min(box[0], canvas.im.size[0] - width))
    y = box[1] - height if box[1] >= height else box[1]
    canvas.rectangle([x, y, x + width, y + height], fill=colour)
    position = (x + pen.pad - left, y + pen.pad - top)
    canvas.text(position, text, fill=_text_colour(colour), font=pen.font)


def _text_colour(background: Colour) -> Colour:
    """Black or white, whichever contrasts more (WCAG 2 relative luminance)."""
    linear = [(value / 255) ** 2.2 for value in background]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return _BLACK if luminance > 0.179 else _WHITE
