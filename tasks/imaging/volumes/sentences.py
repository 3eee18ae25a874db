"""What a person is told of a volume: code -> sentence, with numbers to fill in.

The process that decodes reports codes and numbers only, so no text of a file can reach an answer.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.errors import BadInput

MOST_PLACES, MOST_PLACE = 5, 9999
"""So many numbers of files or slices a sentence names, and so large ones at most."""

MODALITIES = frozenset({"CT", "MR", "PT", "US", "CR", "DX", "XA", "RF", "MG", "NM", "SC"})
"""Kinds of DICOM pictures that are named to people; of others nothing is said."""

NOTES: Mapping[str, str] = {
    "series_chosen": "The files hold several series; the largest axial CT was used: {slices} "
    "slices of {width} x {height}.",
    "series_left_out": "Left out: a series of {slices} {kind} pictures of {width} x {height}.",
    "files_left_out": "Files that are no CT slices were left out: {count} (files sorted by name, "
    "number {files}).",
    "masks_left_out": "Pictures of few values, as masks have, were left out: {count}.",
    "localizers_left_out": "Localizer pictures were left out: {count}.",
    "duplicates_left_out": "Slices at positions that other slices have already were left out: "
    "{count}.",
    "gaps_filled": "Missing slices were filled in between their neighbours: {count}.",
    "gaps_filled_at": "Missing slices were filled in between their neighbours: {count} (from the "
    "feet, number {places}).",
    "damaged_filled": "Damaged slices were filled in between their neighbours: {count} (files "
    "sorted by name, number {files}).",
    "damaged_filled_at": "Damaged slices were filled in between their neighbours: {count} (from "
    "the feet, number {places}; files sorted by name, number {files}).",
    "tilted": "The gantry was tilted by {degrees} degrees; slices were used as they lie.",
    "oblique": "The slices lie {degrees} degrees off the body's axes; they were used as they lie.",
    "reordered": "The slices were not axial; axial ones were made of the volume.",
    "position_unknown": "The files say nothing of the slices' positions: the order is that of "
    "their numbers, and the usual orientation was assumed.",
    "orientation_unknown": "The file says nothing of its orientation; the usual one was assumed. "
    "Left and right may be exchanged.",
    "spacing_unknown": "The distance of the slices or pixels is unknown, so no volume in ml is "
    "given.",
    "padding": "Values outside the scanner's circle were read as air.",
    "rescaled": "Slices have different scales; each was read by its own.",
    "no_scale": "The file states no scale (scl_slope is 0); its values were used as they are.",
    "shifted": "Air is near 0 in this volume, so 1024 was subtracted from all values.",
    "not_hu": "Air is not near -1000 in this volume: its values may not be Hounsfield units.",
    "first_of_zip": "The zip has {count} volumes; the first was used.",
    "first_of_four": "The file has {count} volumes; the first was used.",
    "window_unknown": "Pictures have no Hounsfield units, and their window is unknown: the result "
    "is a best effort. Left and right are those of the picture.",
    "order_by_name": "The pictures were ordered by their names, the first nearest to the feet.",
}
"""Of something that was assumed, changed or left out."""

_DICOM_HINT = "Send the CT series as a zip of its DICOM files, or as NIfTI or NRRD."
_AGAIN_HINT = "Export the series again, and check that it opens in another viewer."

REFUSALS: Mapping[str, tuple[str, str]] = {
    "bad_volume": ("This volume is damaged or cut short.", _AGAIN_HINT),
    "damaged_slices": (
        "Slices of this series are damaged or cut short: {count} (files sorted by name, "
        "number {files}).",
        _AGAIN_HINT,
    ),
    "too_long": ("The file unpacks to more than its header says.", _AGAIN_HINT),
    "bad_header": ("The header of this file contradicts itself.", _AGAIN_HINT),
    "no_slices": ("There is no CT slice in these files.", _DICOM_HINT),
    "gzip_of_other": (
        "This gzip file has no NIfTI volume in it.",
        _DICOM_HINT,
    ),
    "no_ct": ("There is no CT in these files, only {kind}.", _DICOM_HINT),
    "too_many_slices": (
        "The volume has {count} slices; at most {most} are taken.",
        "Send a part of the series, or one with thicker slices.",
    ),
    "too_many_voxels": (
        "The volume takes {size} MiB in memory; at most {most} are taken.",
        "Send a part of the series, or one with thicker slices.",
    ),
    "uneven_slices": (
        "The slices are not evenly spaced: their distances are from {least} to {largest} mm.",
        "Send one series of evenly spaced slices.",
    ),
    "not_in_line": (
        "The slices do not lie in one line: one is {distance} mm off the others.",
        "Send one series, reconstructed with one field of view.",
    ),
    "mixed_sizes": ("The frames of this file do not fit together.", _AGAIN_HINT),
    "too_oblique": (
        "The slices lie {degrees} degrees off the body's axes; at most 35 are taken.",
        "Reformat the series to axial slices.",
    ),
    "unknown_compression": (
        "The slices are compressed in a way that is not read here.",
        "Export them uncompressed, or as JPEG-LS, JPEG 2000 or RLE.",
    ),
    "not_grey": ("The pictures of this file are not grey.", _DICOM_HINT),
    "not_three_axes": ("The file has {count} axes; a volume has three.", "Send one volume."),
    "unknown_type": (
        "The numbers of this file are of a type that is not read here.",
        "Save the volume as 16-bit whole numbers or as floats.",
    ),
    "detached": (
        "The voxels of this NRRD file are in another file.",
        "Save it as one .nrrd file with the data in it.",
    ),
    "unknown_encoding": (
        "The voxels of this NRRD file are encoded in a way that is not read here.",
        "Save it raw or with gzip.",
    ),
    "encrypted": ("The zip file is encrypted.", "Send it without a password."),
    "zip_too_many": (
        "The zip has {count} files; at most {most} are taken.",
        "Send the files of one series only.",
    ),
    "zip_too_large": (
        "The zip's files take {size} MiB unpacked; at most {most} are taken.",
        "Send the files of one series only.",
    ),
    "zip_empty": ("The zip has no files.", _DICOM_HINT),
    "small_slices": (
        "The slices have {width} x {height} pixels; at least 32 are needed.",
        _DICOM_HINT,
    ),
}
"""Why a volume cannot be used: sentence and hint."""


class Refused(Exception):
    """Raised while a volume is read: a code of REFUSALS and its numbers."""

    def __init__(self, code: str, **numbers: Any) -> None:
        super().__init__(code)
        self.code, self.numbers = code, numbers


def refusal(code: str, numbers: Mapping[str, Any]) -> BadInput:
    """The error that people see."""
    sentence, hint = REFUSALS.get(code, REFUSALS["bad_volume"])
    try:
        message = sentence.format(**_checked(numbers))
    except (KeyError, ValueError):
        code, (message, hint) = "bad_volume", REFUSALS["bad_volume"]
    return BadInput(message, code=code, hint=hint)


def notes(reported: Sequence[Any]) -> list[str]:
    """The sentences of [code, numbers] pairs; what is not known is left out."""
    sentences = []
    for each in reported:
        try:
            code, numbers = each
            sentences.append(NOTES[code].format(**_checked(numbers)))
        except (KeyError, TypeError, ValueError):
            continue
    return sentences


def _checked(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers, and names of kinds that are known; anything else raises ValueError."""
    checked: dict[str, Any] = {}
    for name, value in numbers.items():
        if isinstance(value, str):
            checked[name] = value if value in MODALITIES else "other"
        elif isinstance(value, list):
            checked[name] = _places(value)
        elif isinstance(value, int | float) and math.isfinite(value):
            checked[name] = int(value) if value == int(value) else round(value, 2)
        else:
            raise ValueError(name)
    return checked


def _places(values: Sequence[Any]) -> str:
    """`3, 7`: the first numbers, in order. Raises TypeError or ValueError for what is none."""
    numbers = sorted(int(value) for value in values)
    if not numbers or numbers[0] < 1 or numbers[-1] > MOST_PLACE:
        raise ValueError(len(numbers))
    more = ", ..." if len(numbers) > MOST_PLACES else ""
    return ", ".join(map(str, numbers[:MOST_PLACES])) + more
