"""Which files of a folder are volumes: whole ones, and the slices of a series, sent as one zip."""

import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from deploy.client import folders
from deploy.client.folders import LeftOut
from tasks.imaging.volumes import kinds
from tasks.imaging.volumes.names import natural

WHOLE = (".nii.gz", ".nii", ".nrrd", ".zip")
"""Endings of files that have a volume each, in any case."""
SLICES = (".dcm", ".ima")
"""Of files that often have one slice each; those of a scanner may have none."""
EXPORTS = (".png", ".jpg", ".jpeg")
"""Of pictures that may be slices, where a folder has no better ones."""
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""Of every file, so that the zip of the same slices has the same bytes."""


@dataclass(frozen=True)
class Series:
    """The slices in one folder, which are one volume."""

    folder: Path
    files: Sequence[Path]


def walk(folder: Path) -> Iterator[Series | Path | LeftOut]:
    """The volumes below a folder: files that have one each, and of each folder its slices."""
    unreadable: list[OSError] = []
    for parent, inner, files in os.walk(folder, onerror=unreadable.append):
        for name in sorted(inner):
            if reason := folders.folder_reason(name):
                yield LeftOut(Path(parent, name), reason)
                inner.remove(name)
        inner.sort()
        yield from _of_one(Path(parent), sorted(files))
    for error in unreadable:
        yield LeftOut(Path(str(error.filename)), "unreadable")


def write_zip(series: Series, out: IO[bytes]) -> None:
    """Write the slices as a zip; their names are numbers, as names may tell who the patient is.

    The numbers follow the names, which order pictures.
    """
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, file in enumerate(series.files):
            info = zipfile.ZipInfo(f"{number:06}", ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            with file.open("rb") as source, archive.open(info, "w") as target:
                while chunk := source.read(2**20):
                    target.write(chunk)


def _of_one(folder: Path, names: Sequence[str]) -> Iterator[Series | Path | LeftOut]:
    """The volumes among the files of one folder."""
    slices: dict[str, list[Path]] = {"dicom": [], "export": []}
    for name in names:
        path = folder / name
        if reason := folders.unusable(path):
            yield LeftOut(path, reason)
        elif name.lower().endswith(WHOLE):
            yield path
        elif name.upper() == "DICOMDIR":
            yield LeftOut(path, "no_volume")
        elif kind := _kind(path):
            slices[kind].append(path)
        else:
            yield LeftOut(path, "no_volume")
    used = slices["dicom"] or sorted(slices["export"], key=lambda path: natural(path.name))
    if slices["dicom"]:
        yield from (LeftOut(path, "no_volume") for path in slices["export"])
    if used:
        yield Series(folder, tuple(used))


def _kind(path: Path) -> str:
    if path.name.lower().endswith(EXPORTS):
        return "export"
    with path.open("rb") as file:
        start = file.read(kinds.START_BYTES)
    return "dicom" if kinds.media_type(start) == "application/dicom" else ""
