"""Finds the CT series to use in DICOM files, and reads its slices. In the sandbox only."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.imaging.volumes import dicom, source_reader
from tasks.imaging.volumes.dicom import Slice
from tasks.imaging.volumes.dicom_pixels import Pixels
from tasks.imaging.volumes.found import Found, Note, checked
from tasks.imaging.volumes.limits import Limits
from tasks.imaging.volumes.sentences import Refused
from tasks.imaging.volumes.source import Source
from tasks.imaging.volumes.stack import Stack, stacked

MOST_FRAMES = 16_384
"""Slices of all series together."""
MOST_NAMED = 5
"""Series that were left out and are named."""


class Files(Protocol):
    """Files that may be slices: of a zip, or one alone."""

    def __len__(self) -> int: ...

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
    left_out = _left_out(groups, len(files) - len(headers))
    spacing: list[Note] = [] if stack.has_spacing else [("spacing_unknown", {})]
    return Found(
        grid,
        lambda array: _fill(array, stack, files),
        has_spacing=stack.has_spacing,
        notes=[*left_out, *stack.notes, *notes, *spacing],
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


def _left_out(groups: Sequence[Sequence[Slice]], others: int) -> list[Note]:
    """What is said of series and files that are not used."""
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
        notes.append(("files_left_out", {"count": others}))
    return notes


def _size(group: Sequence[Slice]) -> dict[str, float | str]:
    return {"slices": len(group), "width": group[0].width, "height": group[0].height}


def _fill(array: NDArray[np.int16], stack: Stack, files: Files) -> Sequence[Note]:
    """Write each slice where it lies, reading each file once."""
    by_file: dict[int, list[tuple[int, Slice]]] = {}
    for k, each in enumerate(stack.slices):
        if each is not None:
            by_file.setdefault(each.file, []).append((k, each))
    has_padding = False
    for n, places in by_file.items():
        pixels = Pixels(dicom.whole(files.whole(n)))
        for k, each in places:
            array[k], is_padded = pixels.hounsfield(each.frame, each.scale)
            has_padding |= is_padded
    _fill_gaps(array, stack)
    scales = {(each.scale.slope, each.scale.intercept) for each in stack.slices if each}
    notes: list[Note] = [("padding", {})] if has_padding else []
    return [*notes, ("rescaled", {})] if len(scales) > 1 else notes


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
