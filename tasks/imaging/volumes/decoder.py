"""Decodes a volume of untrusted bytes. In the sandbox only, which forks after this was imported."""

import codecs
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import cv2
import nibabel.nifti1
import nibabel.nifti2
import nrrd  # noqa: F401 - imported now: a confined child can open no file
import numpy as np
import numpy.ma
from numpy.typing import NDArray

from tasks.imaging.volumes import dicom, exports, nifti, padding
from tasks.imaging.volumes.archive import Archive
from tasks.imaging.volumes.body import AIR
from tasks.imaging.volumes.found import Found, Note, checked
from tasks.imaging.volumes.grid import USUAL
from tasks.imaging.volumes.inflate import gunzip
from tasks.imaging.volumes.limits import Limits
from tasks.imaging.volumes.nrrd import MAGIC, Nrrd
from tasks.imaging.volumes.sentences import Refused
from tasks.imaging.volumes.series import OneFile, open_series

LARGEST_AIR = -600
"""Where the darkest hundredth of a volume is brighter than this, its values are no HU."""
OFFSET = 1024
"""Of values that are written without a sign and without a scale."""


def decode(data: bytes, memory: NDArray[np.uint8], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Write Z x H x W int16 HU to `memory`, in the orientation of Volume.

    Arguments: the fields of Limits, and `with_source`. Returns {shape, spacing, grid, is_hu,
    notes, source}, or {refused, numbers} with a code of sentences.REFUSALS.
    """
    cv2.setNumThreads(0)
    warnings.simplefilter("ignore")  # a program may have turned warnings into errors
    try:
        limits = {name: value for name, value in arguments.items() if name != "with_source"}
        found = _open(data, Limits(**limits))
        shape = found.grid.slices_shape
        slices = memory[: 2 * int(np.prod(shape))].view(np.int16).reshape(shape)
        source = found.source() if arguments["with_source"] else None
        more = [*found.fill(found.grid.back(slices)), *_corrected(slices, found)]
    except Refused as refused:
        return {"refused": refused.code, "numbers": refused.numbers}
    return {
        "shape": list(shape),
        "spacing_mm": list(found.grid.spacing_mm) if found.has_spacing else [0.0, 0.0, 0.0],
        "grid": found.grid.as_json(),
        "is_hu": found.is_hu and all(code != "not_hu" for code, _ in more),
        "notes": [*found.notes, *more],
        "source": source,
    }


def _open(data: bytes, limits: Limits) -> Found:
    if data[:2] == b"PK":
        return _in_archive(Archive(data, limits.max_raw_bytes + limits.max_bytes), limits)
    return _single(data, limits)


def _in_archive(archive: Archive, limits: Limits) -> Found:
    if series := open_series(archive, limits):
        return series
    starts = list(archive.heads(nifti.START_BYTES))
    if any(map(exports.is_picture, starts)):
        chosen = [n for n in exports.in_order(archive.names) if exports.is_picture(starts[n])]
        others = [k for n, k in enumerate(archive.numbers) if not exports.is_picture(starts[n])]
        return _pictures([archive.whole(n) for n in chosen], others, limits)
    volumes = [n for n, start in enumerate(starts) if _is_whole(start)]
    if not volumes:
        raise Refused("no_slices")
    found = _single(archive.whole(volumes[0]), limits)
    more: list[Note] = [("first_of_zip", {"count": len(volumes)})] if len(volumes) > 1 else []
    return replace(found, notes=[*found.notes, *more])


def _is_whole(start: bytes) -> bool:
    """Whether a file begins as one that has a volume of its own."""
    return start[:2] == b"\x1f\x8b" or start.startswith(MAGIC) or nifti.is_nifti(start)


def _single(data: bytes, limits: Limits) -> Found:
    if data[:2] == b"\x1f\x8b":
        if not nifti.is_nifti(gunzip_start(data, nifti.START_BYTES)):
            raise Refused("gzip_of_other")
        return _nifti(data, limits)
    if nifti.is_nifti(data):
        return _nifti(data, limits)
    if data.startswith(MAGIC):
        return _nrrd(data, limits)
    if exports.is_picture(data):
        return _pictures([data], [], limits)
    if series := open_series(OneFile(data), limits):
        return series
    raise Refused("no_slices")


def _nifti(data: bytes, limits: Limits) -> Found:
    is_zipped = data[:2] == b"\x1f\x8b"
    start = gunzip_start(data, nifti.START_BYTES) if is_zipped else data[: nifti.START_BYTES]
    head = nifti.header(start)
    shape, count = nifti.shape(head)
    affine, is_placed = nifti.affine(head)
    header = nifti.geometry(start)
    grid, notes = checked(shape, affine, limits, is_placed=is_placed, header=header)
    kind, (slope, intercept) = nifti.dtype(head), nifti.scale(head)
    begin = int(head["vox_offset"]) if np.isfinite(head["vox_offset"]) else 0
    voxels = int(np.prod(shape, dtype=np.int64))
    end = begin + voxels * kind.itemsize
    if begin < head.sizeof_hdr or voxels * kind.itemsize > limits.max_raw_bytes * 2:
        raise Refused("bad_header")
    if not is_placed:
        notes.append(("orientation_unknown", {}))
    if float(head["scl_slope"]) == 0 and float(head["scl_inter"]) != 0:
        notes.append(("no_scale", {}))
    if count > 1:
        notes.append(("first_of_four", {"count": count}))

    def fill(array: NDArray[np.int16]) -> Sequence[Note]:
        raw = gunzip(data, end, may_be_longer=count > 1) if is_zipped else data
        if len(raw) < end:
            raise Refused("bad_volume")
        stored = np.frombuffer(raw, kind, voxels, begin).reshape(shape)
        _scaled(stored, slope, intercept, array)
        return ()

    return Found(grid, fill, notes=notes)


def _nrrd(data: bytes, limits: Limits) -> Found:
    file = Nrrd(data)
    shape = file.shape  # its axes are counted before their directions are looked at
    affine, is_placed, has_spacing = file.affine()
    grid, notes = checked(shape, affine, limits, is_placed=is_placed)
    if not is_placed:
        notes.append(("orientation_unknown", {}))
    if not has_spacing:
        notes.append(("spacing_unknown", {}))
    kind = file.dtype

    def fill(array: NDArray[np.int16]) -> Sequence[Note]:
        stored = file.voxels(limits.max_raw_bytes * max(1, kind.itemsize // 2))
        _scaled(stored, 1.0, 0.0, array)
        return ()

    return Found(grid, fill, has_spacing=has_spacing, notes=notes)


def _pictures(files: Sequence[bytes], others: list[int], limits: Limits) -> Found:
    if len(files) > limits.max_slices:
        raise Refused("too_many_slices", count=len(files), most=limits.max_slices)
    every = [exports.grey(data) for data in files]
    masks = exports.masks(every)
    pictures = [each for n, each in enumerate(every) if n not in masks]
    if len({(picture.shape, picture.dtype) for picture in pictures}) > 1:
        raise Refused("mixed_sizes")
    slope, intercept = exports.to_hounsfield(*exports.landmarks(pictures))
    shape = (len(pictures), *pictures[0].shape)
    grid, notes = checked(shape, USUAL, limits, is_placed=False)
    notes += [("window_unknown", {}), ("spacing_unknown", {})]
    notes += [("order_by_name", {})] if len(files) > 1 else []
    notes += [("masks_left_out", {"count": len(masks)})] if masks else []
    notes += [("files_left_out", {"count": len(others), "files": others})] if others else []

    def fill(array: NDArray[np.int16]) -> Sequence[Note]:
        for k, picture in enumerate(pictures):
            array[k] = exports.clipped(picture, slope, intercept)
        return ()

    return Found(grid, fill, has_spacing=False, is_hu=False, notes=notes)


def _scaled(stored: NDArray[Any], slope: float, intercept: float, array: NDArray[np.int16]) -> None:
    """Write stored values in Hounsfield units, slice by slice; what is no number becomes air."""
    for k, values in enumerate(stored):
        units = values.astype(np.float64) * slope + intercept
        array[k] = np.clip(np.rint(np.nan_to_num(units, nan=AIR)), AIR, 32767)


def _corrected(slices: NDArray[np.int16], found: Found) -> list[Note]:
    """Shift values that lie 1024 too high, make air of padding, and say so where air is not where
    it should be."""
    if not found.is_hu:
        return []
    shifted = _shifted(slices)
    padded: list[Note] = [("padding", {})] if padding.to_air(slices) else []
    return shifted + padded


def _shifted(slices: NDArray[np.int16]) -> list[Note]:
    sample = slices[:: max(1, len(slices) // 32), ::4, ::4]
    darkest, middle = (float(value) for value in np.percentile(sample, (1, 90)))
    if darkest < LARGEST_AIR:
        return []
    if -50 <= darkest <= 250 and 800 <= middle <= 1300:
        slices -= OFFSET
        return [("shifted", {})]
    return [("not_hu", {})]


def gunzip_start(data: bytes, most: int) -> bytes:
    """The first bytes of what a gzip file has in it."""
    return bytes(gunzip(data, most, may_be_longer=True))


# What libraries import or look up only when they are first used, they do now, before any bytes of
# others are here: a confined child can open no file.
for _encoding in ("cp437", "iso8859"):  # of zip's names and DICOM's texts
    codecs.lookup(_encoding)
dicom.warm()
for _header in (nibabel.nifti1.Nifti1Header, nibabel.nifti2.Nifti2Header):
    _header()  # type: ignore[no-untyped-call]  # not typed by nibabel
