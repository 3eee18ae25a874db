"""Reads DICOM: which slices there are, which of them are one series, and where each lies.

Positions come from the image position along the slices' normal. Names and instance numbers order
slices only where nothing else does. In the sandbox only.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from tasks.imaging.volumes import kinds
from tasks.imaging.volumes.dicom_pixels import Scale
from tasks.imaging.volumes.sentences import Refused

WANTED = [
    "SOPClassUID", "Modality", "ImageType", "SeriesInstanceUID", "InstanceNumber",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
    "SpacingBetweenSlices", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "RescaleSlope",
    "RescaleIntercept", "PixelPaddingValue", "PixelPaddingRangeLimit", "NumberOfFrames",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
"""All that is read of a file: nothing that says who the patient is."""

HEAD_BYTES = 192 * 2**10
"""Of a file, in which its header is looked for; of one with many frames, the whole is read."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Slice:
    """One frame of a file."""

    file: int
    """Which of the files that were handed in."""
    frame: int
    series: str
    kind: str
    """The modality: `CT`."""
    is_localizer: bool
    height: int
    width: int
    number: int
    """The instance's or the frame's number."""
    position: Vector | None
    """Of the first pixel's centre, mm in LPS."""
    rows: Vector
    """Unit vector along a row, to growing columns."""
    columns: Vector
    """Unit vector down a column."""
    spacing: tuple[float, float] | None
    """Between columns, between rows: mm."""
    thickness: float
    """Distance to the next slice as the file has it, or 0."""
    scale: Scale
    is_placed: bool
    is_multi_frame: bool

    @property
    def normal(self) -> Vector:
        """Unit vector off the slice."""
        return np.cross(self.rows, self.columns)


def is_dicom(data: bytes) -> bool:
    """Whether bytes begin as DICOM does, with or without its preamble."""
    return kinds.media_type(data[: kinds.START_BYTES]) == "application/dicom"


def header(data: bytes) -> Dataset | None:
    """The wanted tags but the pixels; None if this is no DICOM file of pictures."""
    try:
        file = dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=WANTED, force=True)
    except (InvalidDicomError, EOFError, ValueError, KeyError, AttributeError, OverflowError):
        return None
    return file if file.get("Rows") and file.get("Columns") else None


def whole(data: bytes) -> Dataset:
    """The wanted tags and the pixels. Raises Refused for a file that is cut short."""
    file = dcmread(BytesIO(data), specific_tags=[*WANTED, "PixelData"], force=True)
    if not file.get("Rows"):  # pydicom forgets all tags where encoded pixels have no end
        raise Refused("bad_volume")
    return file


def slices(file: Dataset, n: int) -> Iterator[Slice]:
    """The frames of file `n` of those handed in."""
    frames = file.get("PerFrameFunctionalGroupsSequence") or []
    shared = next(iter(file.get("SharedFunctionalGroupsSequence") or []), Dataset())
    count = int(file.get("NumberOfFrames", None) or 1)
    if frames and len(frames) < count:
        raise Refused("bad_header")
    for frame in range(count):
        own = frames[frame] if frames else Dataset()
        yield _slice(file, n, frame, [own, shared])


def _slice(file: Dataset, n: int, frame: int, groups: Sequence[Dataset]) -> Slice:
    measures = _group(groups, "PixelMeasuresSequence") or file
    where = _group(groups, "PlanePositionSequence") or file
    lies = _group(groups, "PlaneOrientationSequence") or file
    position, directions = where.get("ImagePositionPatient"), lies.get("ImageOrientationPatient")
    rows, columns = _directions(directions)
    spacing = measures.get("PixelSpacing")
    several = int(file.get("NumberOfFrames", None) or 1) > 1
    number = frame if several else int(file.get("InstanceNumber", None) or 0)
    thickness = measures.get("SpacingBetweenSlices", None) or measures.get("SliceThickness", None)
    kinds = [str(kind).upper() for kind in file.get("ImageType", None) or []]
    return Slice(
        n,
        frame,
        str(file.get("SeriesInstanceUID", "")),
        str(file.get("Modality", "CT")).upper(),
        "LOCALIZER" in kinds,
        int(file.Rows),
        int(file.Columns),
        number,
        None if position is None else _numbers(position, 3),
        rows,
        columns,
        _spacing(spacing),
        abs(float(thickness or 0)),
        _scale(file, groups),
        directions is not None and position is not None,
        several,
    )


def _group(groups: Sequence[Dataset], name: str) -> Dataset | None:
    """The item of a functional group: the frame's own, else the one that all frames share."""
    for group in groups:
        for item in group.get(name) or []:
            found: Dataset = item
            return found
    return None


def _directions(values: Any) -> tuple[Vector, Vector]:
    """Along a row and down a column; the usual ones where a file says nothing."""
    both = np.array([1.0, 0, 0, 0, 1, 0]) if values is None else _numbers(values, 6)
    rows, columns = both[:3], both[3:]
    lengths = np.linalg.norm(rows), np.linalg.norm(columns)
    if min(lengths) < 0.5 or abs(float(rows @ columns)) > 0.01 * lengths[0] * lengths[1]:
        raise Refused("bad_header")
    return rows / lengths[0], columns / lengths[1]


def _spacing(values: Any) -> tuple[float, float] | None:
    if values is None:
        return None
    down, along = (float(value) for value in _numbers(values, 2))
    if not 0.01 < down < 100 or not 0.01 < along < 100:
        raise Refused("bad_header")
    return along, down


def _scale(file: Dataset, groups: Sequence[Dataset]) -> Scale:
    """The frame's own scale where it has one: it differs between slices, and between frames."""
    of = _group(groups, "PixelValueTransformationSequence") or file
    slope, intercept = of.get("RescaleSlope", None), of.get("RescaleIntercept", None)
    scale = 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)
    if not np.isfinite(scale).all() or scale[0] == 0:
        raise Refused("bad_header")
    return Scale(*scale, _padding(file))


def _padding(file: Dataset) -> tuple[int, int] | None:
    value = file.get("PixelPaddingValue", None)
    if value is None:
        return None
    bits, is_signed = int(file.get("BitsStored", 16)), bool(file.get("PixelRepresentation", 0))
    ends = [_as_stored(int(value), bits, is_signed)]
    limit = file.get("PixelPaddingRangeLimit", None)
    ends.append(ends[0] if limit is None else _as_stored(int(limit), bits, is_signed))
    return min(ends), max(ends)


def _as_stored(value: int, bits: int, is_signed: bool) -> int:
    """A tag's number as pixels have it: its VR may be unsigned where they are signed."""
    if is_signed and value >= 1 << (bits - 1) and value < 1 << 16:
        return value - (1 << 16)
    return value & ((1 << bits) - 1) if value < 0 and not is_signed else value


def _numbers(values: Any, count: int) -> Vector:
    numbers = np.array([float(value) for value in values], np.float64)
    if numbers.shape != (count,) or not np.isfinite(numbers).all() or abs(numbers).max() > 1e5:
        raise Refused("bad_header")
    return numbers


def series(found: Sequence[Slice]) -> list[list[Slice]]:
    """Slices that lie in one series, alike and of one size and field; the series to use comes
    first.

    CT and axial ones come before others, then those of most slices.
    """
    groups: dict[tuple[Any, ...], list[Slice]] = {}
    for each in found:
        lies = tuple(np.round(np.concatenate((each.rows, each.columns)), 1))
        size = (each.height, each.width, *(round(side, 3) for side in each.spacing or ()))
        key = (each.series, each.kind, each.is_localizer, size, lies)
        groups.setdefault(key, []).append(each)

    def rank(group: Sequence[Slice]) -> tuple[bool, bool, bool, int, int]:
        one = group[0]
        is_axial = abs(float(one.normal[2])) > 0.8
        return (one.kind == "CT", not one.is_localizer, is_axial, len(group), one.width)

    return sorted(groups.values(), key=rank, reverse=True)


def usual_kind(found: Sequence[Slice]) -> str:
    """The most frequent modality."""
    return Counter(each.kind for each in found).most_common(1)[0][0]


def warm() -> None:
    """Read a small file, so that pydicom has imported and looked up what it needs."""
    file = Dataset()
    file.Modality, file.Rows, file.Columns, file.NumberOfFrames = "CT", 1, 1, 1
    file.ImagePositionPatient, file.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    file.PixelSpacing, file.RescaleSlope, file.ImageType = [1, 1], 1, ["ORIGINAL"]
    file.BitsAllocated, file.SamplesPerPixel, file.SeriesInstanceUID = 16, 1, "1.2"
    file.PixelData = b"\0\0"
    place, item = Dataset(), Dataset()
    place.ImagePositionPatient = [0, 0, 0]
    item.PlanePositionSequence = [place]
    file.SharedFunctionalGroupsSequence = [item]
    for is_implicit in (True, False):
        stream = BytesIO()
        file.save_as(stream, implicit_vr=is_implicit, little_endian=True, enforce_file_format=False)
        header(stream.getvalue())
