"""Straight lines in a mask: joints of planks, wires, the edges of a wall."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.imaging.types import Alpha

_GAP_PX = 4
"""A line goes on behind so many pixels that lack."""
_BROAD_PX = 7
"""Of what is taken for the line: it is no thinner than that in a photo."""
_SHORT = 0.5
"""Share of the least length from which on a line counts that goes on in the photo's ground."""
_GOES_ON = (0.6, 1.6)
"""Least and most contrast that it has there, as shares of its own."""
_FURTHER, _PIECES = 3, 4
"""It is followed for so many times the least length, without what lies behind the subject. Two of
three of that must be ground, and show the line in each of so many pieces."""
_FAINT = 12.0
"""Of 255: a line of less contrast may be grain, or a hair in front of a blurred ground."""
_OFF_PX, _ASIDE_PX = 2, 6
"""A line is looked for so far beside the way that it points, and compared with what is so far
beside it."""
_STEP_PX = 2
"""Between the places that are looked at along a line."""


def straight(
    mask: Alpha, least_px: int, ground: Alpha | None = None, corner: tuple[int, int] = (0, 0)
) -> Alpha:
    """1 on straight lines of at least `least_px`, else 0. `mask`: H x W of 0 and 1.

    Of lines a single pixel wide it finds only some: those are as thin as hairs, and where hairs lie
    close together, whatever finds all of the former finds some in the latter.
    `ground`: the grey photo, 0 in the subject alone; shorter lines count if they go on in it. Its
    pixel (column, row) `corner` is the mask's first one.

    Probabilistic Hough transform (Matas, Galambos, Kittler, CVIU 2000).
    """
    drawn = np.zeros(mask.shape, np.uint8)
    for ends in _found(mask, least_px, least_px):
        _draw(drawn, ends)
    if ground is not None:
        for ends in _found(mask, least_px, max(2, round(_SHORT * least_px))):
            is_new = not drawn[ends[:, 1], ends[:, 0]].all()
            if is_new and _goes_on(ends + corner, ground, least_px):
                _draw(drawn, ends)
    return drawn


def _found(mask: Alpha, votes_px: int, least_px: int) -> NDArray[Any]:
    found = cv2.HoughLinesP(
        mask, 1, np.pi / 180, votes_px // 2, minLineLength=least_px, maxLineGap=_GAP_PX
    )
    return np.reshape(found, (-1, 2, 2)) if found is not None else np.empty((0, 2, 2), np.int32)


def _draw(mask: Alpha, ends: NDArray[Any]) -> None:
    first, last = ((int(x), int(y)) for x, y in ends)
    cv2.line(mask, first, last, 1, _BROAD_PX)


def _goes_on(ends: NDArray[Any], ground: Alpha, least_px: int) -> bool:
    """Whether a line, both ends (column, row), goes on in the ground behind one of them."""
    length = float(np.hypot(*(ends[1] - ends[0])))
    way = (ends[1] - ends[0]) / length
    own = _contrast(_lighter(ends[0], way, length, ground))
    if abs(own) < _FAINT:
        return False
    for end, onward in ((ends[1], way), (ends[0], -way)):
        further = _lighter(end + onward * 2 * _GAP_PX, onward, _FURTHER * least_px, ground)
        seen = further.shape[1]
        pieces = (further[:, n * seen // _PIECES :][:, : seen // _PIECES] for n in range(_PIECES))
        if seen * _STEP_PX >= (_FURTHER - 1) * least_px and all(
            _GOES_ON[0] <= _contrast(piece) / own <= _GOES_ON[1] for piece in pieces
        ):
            return True
    return False


def _contrast(lighter: NDArray[Any]) -> float:
    """Of the most different row, at half of its places at least; 0 without any."""
    if lighter.shape[1] == 0:
        return 0.0
    return float(max(np.median(lighter, axis=1), key=abs))


def _lighter(start: NDArray[Any], way: NDArray[Any], length: float, ground: Alpha) -> NDArray[Any]:
    """By how much each place is lighter than both sides of it, in rows along a way, where there is
    ground alone."""
    off = np.arange(-_OFF_PX - _ASIDE_PX, _OFF_PX + _ASIDE_PX + 1)[:, None]
    along = np.arange(0, length, _STEP_PX)[None]
    columns = (start[0] + along * way[0] + off * way[1]).astype(np.float32)
    rows = (start[1] + along * way[1] - off * way[0]).astype(np.float32)
    strip = cv2.remap(ground, columns, rows, cv2.INTER_NEAREST)  # 0 outside of the photo
    strip = strip[:, strip.min(0) > 0].astype(np.float32)
    middle = strip[_ASIDE_PX:-_ASIDE_PX]
    return middle - (strip[: len(middle)] + strip[-len(middle) :]) / 2
