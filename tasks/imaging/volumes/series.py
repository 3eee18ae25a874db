"""Finds the CT series to use in DICOM files, and reads its slices. In the sandbox only."""

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.imaging.volumes import dicom, source_reader
from tasks.imaging.volumes.dicom import Slice
from tasks.imaging.volumes.dicom_pixels import Pixels
from tasks.imaging.volumes.found import Found, Note, checked
from tasks.imaging.volumes.grid import Grid
from tasks.imaging.volumes.limits import Limits
from tasks.imaging.volumes.sentences import Refused
from tasks.imaging.volumes.source import Source
from tasks.imaging.volumes.stack import Stack, stacked, without

MOST_FRAMES = 16_384
"""Slices of all series together."""
MOST_NAMED = 5
"""Series that were left out and are named."""


class Files(Protocol):
    """Files that may be slices: of a zip, or one alone."""

    def __len__(self) -> int: ...

    @property
    def numbers(self) -> Sequence[int]:
        """Of each file, from 1: what people are told of it."""

    def head(self, n: int, most: int) -> bytes:
        """The first bytes of file `n`."""

    def whole(self, n: int) -> bytes:
        """All bytes of file `n`."""


class OneFile:
    """One file alone."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return 1

    @property
    def numbers(self) -> Sequence[int]:
        """1."""
        return (1,)

    def head(self, n: int, most: int) -> bytes:
        """The first bytes."""
        return self._data[:most]

    def whole(self, n: int) -> bytes:
        """All bytes."""
        return self._data


def open_series(files: Files, limits: Limits) -> Found | None:
    """The largest axial CT in the files; None if none of them is DICOM. Raises Refused."""
    headers = list(_headers(files))
    if not headers:
        return None
    slices = [each for n, header in headers for each in _slices(header, n)]
    groups = dicom.series(slices)
    if not groups or groups[0][0].is_localizer:
        raise Refused("no_slices")
    used = groups[0]
    if used[0].kind != "CT":
        raise Refused("no_ct", kind=dicom.usual_kind(slices))
    if len(used) > limits.max_slices:
        raise Refused("too_many_slices", count=len(used), most=limits.max_slices)
    stack = stacked(used)
    shape = (len(stack.slices), used[0].height, used[0].width)
    grid, notes = checked(shape, stack.affine, limits, is_placed=stack.is_placed)
    if any(code == "tilted" for code, _ in stack.notes):  # which is why it seems oblique
        notes = [note for note in notes if note[0] != "oblique"]
    used_files = {n for n, _ in headers}
    left_out = _left_out(groups, [k for n, k in enumerate(files.numbers) if n not in used_files])
    spacing: list[Note] = [] if stack.has_spacing else [("spacing_unknown", {})]
    return Found(
        grid,
        lambda array: _fill(array, stack, files, grid),
        has_spacing=stack.has_spacing,
        notes=[*left_out, *stack.notes, *_gaps(stack, grid), *notes, *spacing],
        source=lambda: _source(stack, files),
    )


def _headers(files: Files) -> Iterable[tuple[int, Any]]:
    for n in range(len(files)):
        head = files.head(n, dicom.HEAD_BYTES)
        if not dicom.is_dicom(head):
            continue
        header = dicom.header(head)
        if header is None or int(header.get("NumberOfFrames", None) or 1) > 1:
            header = dicom.header(files.whole(n))
        if header is not None:
            yield n, header


def _slices(header: Any, n: int) -> Iterable[Slice]:
    if int(header.get("NumberOfFrames", None) or 1) > MOST_FRAMES:
        raise Refused("bad_header")
    return dicom.slices(header, n)


def _left_out(groups: Sequence[Sequence[Slice]], others: list[int]) -> list[Note]:
    """What is said of series and files that are not used. `others`: numbers of files."""
    used, localizers = groups[0], sum(len(each) for each in groups if each[0].is_localizer)
    series = [each for each in groups[1:] if not each[0].is_localizer]
    notes: list[Note] = []
    if series:
        notes.append(("series_chosen", _size(used)))
    for each in series[:MOST_NAMED]:
        notes.append(("series_left_out", {**_size(each), "kind": each[0].kind}))
    if localizers:
        notes.append(("localizers_left_out", {"count": localizers}))
    if others:
        notes.append(("files_left_out", {"count": len(others), "files": others}))
    return notes


def _size(group: Sequence[Slice]) -> dict[str, float | str | list[int]]:
    return {"slices": len(group), "width": group[0].width, "height": group[0].height}


def _gaps(stack: Stack, grid: Grid) -> list[Note]:
    """Which slices are missing."""
    missing = [k for k, each in enumerate(stack.slices) if each is None]
    return [_placed("gaps_filled", missing, grid)] if missing else []


def _placed(code: str, places: Collection[int], grid: Grid, **known: Any) -> Note:
    """A note of slices, with their numbers where the viewer counts the file's own slices so."""
    if grid.order[0] != 0 or not grid.is_placed:
        return code, {"count": len(places), **known}
    numbers = [grid.shape[0] - k if grid.flips[0] else k + 1 for k in places]
    return f"{code}_at", {"count": len(places), "places": numbers, **known}


def _fill(array: NDArray[np.int16], stack: Stack, files: Files, grid: Grid) -> Sequence[Note]:
    """Write each slice where it lies, reading each file once.

    A slice that is damaged counts as a missing one. Raises Refused where too many are.
    """
    by_file: dict[int, list[tuple[int, Slice]]] = {}
    for k, each in enumerate(stack.slices):
        if each is not None:
            by_file.setdefault(each.file, []).append((k, each))
    has_padding = False
    damaged: dict[int, list[int]] = {}
    for n, places in by_file.items():
        try:
            has_padding |= _read(array, places, files.whole(n))
        except (Refused, ValueError, EOFError, RuntimeError) as error:
            if len(by_file) == 1 or isinstance(error, Refused) and error.code != "bad_volume":
                raise
            damaged[n] = [k for k, _ in places]
    notes: list[Note] = []
    if damaged:
        numbers, lost = [files.numbers[n] for n in damaged], list(chain(*damaged.values()))
        stack = _without(stack, lost, numbers)
        notes.append(_placed("damaged_filled", lost, grid, files=numbers))
    _fill_gaps(array, stack)
    scales = {(each.scale.slope, each.scale.intercept) for each in stack.slices if each}
    notes += [("padding", {})] if has_padding else []
    return [*notes, ("rescaled", {})] if len(scales) > 1 else notes


def _read(array: NDArray[np.int16], places: Sequence[tuple[int, Slice]], data: bytes) -> bool:
    """Write the slices of one file; whether there was padding in them."""
    pixels, has_padding = Pixels(dicom.whole(data)), False
    for k, each in places:
        array[k], is_padded = pixels.hounsfield(each.frame, each.scale)
        has_padding |= is_padded
    return has_padding


def _without(stack: Stack, damaged: Collection[int], numbers: list[int]) -> Stack:
    """The stack without damaged slices, of the files of these numbers."""
    rest = without(stack, damaged)
    if rest is None:
        raise Refused("damaged_slices", count=len(damaged), files=numbers)
    return rest


def _source(stack: Stack, files: Files) -> Source | None:
    used = {each.file for each in stack.slices if each}
    return source_reader.read(stack.slices, {n: files.head(n, dicom.HEAD_BYTES) for n in used})


def _fill_gaps(array: NDArray[np.int16], stack: Stack) -> None:
    """Slices that are missing become what lies between their neighbours."""
    known = [k for k, each in enumerate(stack.slices) if each is not None]
    for before, after in zip(known, known[1:], strict=False):
        for k in range(before + 1, after):
            share = (k - before) / (after - before)
            array[k] = np.rint(array[before] * (1 - share) + array[after] * share)
