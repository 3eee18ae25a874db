"""Orders the slices of a DICOM series, and finds duplicates, gaps and the gantry's tilt."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from tasks.imaging.volumes.dicom import Slice
from tasks.imaging.volumes.found import Note
from tasks.imaging.volumes.grid import NOTED_OBLIQUE, Affine
from tasks.imaging.volumes.sentences import Refused

SAME_MM = 0.01
"""Slices nearer than this lie at the same position."""
EVEN = 0.06
"""Share of the distance by which positions may be off an even grid: they are written rounded."""
BESIDE = 2.0
"""Pixels by which a slice may lie beside the line of the others."""
MOST_FILLED = 0.1
"""Share of slices that may be missing and are filled in."""
LONGEST_GAP = 4
"""Slices in a row that may be missing."""


@dataclass(frozen=True)
class Stack:
    """A series in order. `slices` has None where one is missing."""

    slices: Sequence[Slice | None]
    affine: Affine
    is_placed: bool
    has_spacing: bool
    notes: Sequence[Note]


def stacked(group: Sequence[Slice]) -> Stack:
    """The slices of one series from one end to the other. Raises Refused for uneven ones."""
    first = group[0]
    spacing = first.spacing or (1.0, 1.0)
    notes: list[Note] = []
    if any(each.position is None for each in group):
        ordered: list[Slice | None] = [*sorted(group, key=lambda each: (each.number, each.file))]
        origin, step = np.zeros(3), first.normal * (first.thickness or 1.0)
        is_placed = False
        notes.append(("position_unknown", {}))
    else:
        ordered, origin, step, notes = _by_position(group)
        is_placed = first.is_placed
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = first.rows * spacing[0], first.columns * spacing[1]
    affine[:3, 2], affine[:3, 3] = step, origin
    has_thickness = len(ordered) > 1 and is_placed or first.thickness > 0
    return Stack(ordered, affine, is_placed, first.spacing is not None and has_thickness, notes)


def without(stack: Stack, damaged: Collection[int]) -> Stack | None:
    """The stack with these slices missing; None if more are missing then than are filled in."""
    slices = [None if k in damaged else each for k, each in enumerate(stack.slices)]
    known = [k for k, each in enumerate(slices) if each is not None]
    if not known or slices[0] is None or slices[-1] is None:
        return None
    longest = max(after - before for before, after in pairwise(known)) if len(known) > 1 else 1
    return (
        replace(stack, slices=slices)
        if _is_few(len(slices) - len(known), len(slices) - 1, longest)
        else None
    )


def _by_position(
    group: Sequence[Slice],
) -> tuple[list[Slice | None], np.ndarray, np.ndarray, list[Note]]:
    first = group[0]
    places = sorted(
        ((float(_where(each) @ first.normal), each) for each in group),
        key=lambda pair: (pair[0], pair[1].number),
    )
    kept = [places[0]]
    for place in places[1:]:
        if place[0] - kept[-1][0] > SAME_MM:
            kept.append(place)
    notes: list[Note] = []
    if len(kept) < len(places):
        notes.append(("duplicates_left_out", {"count": len(places) - len(kept)}))
    origin = _where(kept[0][1])
    if len(kept) == 1:
        return [kept[0][1]], origin, first.normal * (first.thickness or 1.0), notes
    distances = np.diff([along for along, _ in kept])
    counts = _steps(distances)
    ordered: list[Slice | None] = [kept[0][1]]
    for count, (_, each) in zip(counts, kept[1:], strict=True):
        ordered += [None] * (count - 1) + [each]
    step = (_where(kept[-1][1]) - origin) / sum(counts)
    _check_line([_where(each) - origin for _, each in kept], np.cumsum([0, *counts]), step, first)
    along = float(step @ first.normal)
    tilt = math.degrees(math.acos(min(1.0, along / float(np.linalg.norm(step)))))
    if tilt > NOTED_OBLIQUE:
        notes.append(("tilted", {"degrees": round(tilt)}))
    return ordered, origin, step, notes


def _check_line(
    places: Sequence[np.ndarray], numbers: np.ndarray, step: np.ndarray, one: Slice
) -> None:
    """Raise Refused if a slice lies beside the others: a field of view that changed on the way."""
    beside = np.array(places) - numbers[:, None] * step
    beside -= (beside @ one.normal)[:, None] * one.normal
    distance = float(np.linalg.norm(beside, axis=1).max())
    if distance > BESIDE * max(one.spacing or (1.0, 1.0)):
        raise Refused("not_in_line", distance=distance)


def _where(each: Slice) -> np.ndarray:
    assert each.position is not None
    return each.position


def _steps(distances: np.ndarray) -> list[int]:
    """How many steps of the usual distance lie between neighbours, 1 where none is missing."""
    usual = float(np.median(distances))
    counts = np.maximum(1, np.rint(distances / usual)).astype(int)
    is_even = np.abs(distances / usual - counts).max() <= EVEN * counts.max()
    missing = int(counts.sum()) - len(counts)
    if not is_even or not _is_few(missing, int(counts.sum()), int(counts.max())):
        raise Refused("uneven_slices", least=float(distances.min()), largest=float(distances.max()))
    return [int(count) for count in counts]


def _is_few(missing: int, steps: int, longest: int) -> bool:
    """Whether so many missing slices of so many steps, the longest so long, are filled in."""
    return missing <= max(1, MOST_FILLED * steps) and longest <= LONGEST_GAP + 1
