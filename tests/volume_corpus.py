"""Broken and hostile files of volumes: each must be refused with a sentence."""

import gzip
import io
import struct
import zipfile

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless
from volume_files import dicom_zip, multi_frame, nifti, nrrd_file, phantom, slice_file, zipped

_MADE = phantom(spacing=(4, 4, 20))


def _changed(**fields) -> bytes:
    def change(file) -> None:
        for name, value in fields.items():
            setattr(file, name, value)

    return slice_file(_MADE, 4, change)


def _compressed(syntax: str, data: bytes) -> bytes:
    def change(file) -> None:
        file.PixelData, file.file_meta.TransferSyntaxUID = encapsulate([data]), syntax

    return slice_file(_MADE, 4, change)


def _nifti(at: int, form: str, *values: float) -> bytes:
    data = bytearray(nifti(_MADE, is_zipped=False))
    struct.pack_into(f"<{form}", data, at, *values)
    return bytes(data)


def _bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(40):
            archive.writestr(f"{n}.dcm", bytes(2**25))
    return stream.getvalue()


def _liar() -> bytes:
    """A zip whose table of contents says that a file is small."""
    data = bytearray(zipped([bytes(2**20)], ["one.dcm"]))
    for magic, at in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        start = data.index(magic)
        data[start + at : start + at + 4] = struct.pack("<I", 1000)
    return bytes(data)


def _encrypted() -> bytes:
    data = bytearray(zipped([slice_file(_MADE, 4)], ["one.dcm"]))
    for magic, at in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        data[data.index(magic) + at] |= 1
    return bytes(data)


def corpus() -> dict[str, bytes]:
    """Name -> bytes."""
    series, frames = dicom_zip(_MADE), multi_frame(_MADE)
    plain, nrrd, one = nifti(_MADE, is_zipped=False), nrrd_file(_MADE), slice_file(_MADE, 4)
    size = len(_MADE.voxels[4].tobytes())
    return {
        "nothing": b"",
        "text": b"The lungs of a patient.",
        "pdf": b"%PDF-1.7 " + bytes(400),
        "noise": np.random.default_rng(0).bytes(5000),
        "zip cut short": series[: len(series) // 2],
        "zip without its end": series[:-20],
        "zip of nothing": zipped([]),
        "zip of junk": zipped([b"x", b"y"], [".DS_Store", "__MACOSX/._x"]),
        "zip of text": zipped([b"read me", b"and me"]),
        "zip of a zip": zipped([series], ["inner.zip"]),
        "zip bomb": _bomb(),
        "zip that lies": _liar(),
        "zip with a password": _encrypted(),
        "zip of too many": zipped([b""] * 4097),
        "damaged zip": series[:2000] + bytes(200) + series[2200:],
        "preamble alone": bytes(128) + b"DICM",
        "dicom cut in its header": one[:300],
        "dicom cut in its pixels": one[: -size // 2],
        "dicom without pixels": _changed(PixelData=b""),
        "dicom of no size": _changed(Rows=0),
        "dicom of wrong size": _changed(Rows=6000, Columns=6000),
        "dicom in colour": _changed(SamplesPerPixel=3, PhotometricInterpretation="RGB"),
        "dicom of 64 bits": _changed(BitsAllocated=64),
        "dicom of too many bits": _changed(BitsStored=40),
        "dicom of a scale of 0": _changed(RescaleSlope="0"),
        "dicom with no directions": _changed(ImageOrientationPatient=["0"] * 6),
        "dicom with one direction": _changed(ImageOrientationPatient=["1", "0", "0"] * 2),
        "dicom with far positions": _changed(ImagePositionPatient=["1e30", "0", "0"]),
        "dicom of no spacing": _changed(PixelSpacing=["0", "0"]),
        "dicom of an MR": _changed(Modality="MR"),
        "dicom that is a localizer": _changed(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        "dicom of a tiny slice": _changed(Rows=4, Columns=4),
        "dicom askew": _changed(
            ImageOrientationPatient=["0.70711", "0.70711", "0", "-0.5", "0.5", "0.70711"]
        ),
        "dicom of 10,000 frames": _changed(NumberOfFrames=10_000),
        "dicom of endless frames": _changed(NumberOfFrames=2_000_000_000),
        "film": _compressed(MPEG2MPML, bytes(100)),
        "broken jpeg": _compressed(JPEGLosslessSV1, b"\xff\xd8\xff\xc3" + bytes(60)),
        "broken jpeg-ls": _compressed(JPEGLSLossless, b"\xff\xd8\xff\xf7" + bytes(60)),
        "broken jpeg 2000": _compressed(JPEG2000Lossless, b"\xff\x4f\xff\x51" + bytes(60)),
        "broken run lengths": _compressed(RLELossless, bytes(80)),
        "multi-frame cut short": frames[: len(frames) - 4 * size],
        "nifti cut in its header": plain[:200],
        "nifti cut short": plain[:-100],
        "nifti of no axes": _nifti(40, "h", 0),
        "nifti of nine axes": _nifti(40, "h", 9),
        "nifti of negative sides": _nifti(42, "h", -5),
        "nifti of huge sides": _nifti(42, "3h", 32000, 32000, 1000),
        "nifti in colour": _nifti(70, "2h", 128, 24),
        "nifti of no type": _nifti(70, "h", 77),
        "nifti that begins in its header": _nifti(108, "f", 4),
        "nifti that begins far away": _nifti(108, "f", 1e30),
        "nifti that begins nowhere": _nifti(108, "f", float("nan")),
        "nifti of no affine": _nifti(280, "12f", *[0] * 12),
        "nifti of an endless affine": _nifti(280, "12f", *[float("inf")] * 12),
        "nifti of a flat affine": _nifti(280, "12f", *[1, 1, 0, 0] * 3),
        "damaged gzip": gzip.compress(plain)[:500] + bytes(500),
        "gzip of text": gzip.compress(b"no volume" * 100),
        "nrrd cut in its header": nrrd[:60],
        "nrrd cut short": nrrd[:-500],
        "nrrd of other files": nrrd_file(_MADE, data_file="/etc/passwd"),
        "nrrd of two axes": nrrd_file(_MADE, sizes="82 1550", dimension="2"),
        "nrrd without sizes": nrrd_file(_MADE, sizes=None),
        "nrrd of negative sizes": nrrd_file(_MADE, sizes="-82 62 10"),
        "nrrd of huge sizes": nrrd_file(_MADE, sizes="82000 62000 1000"),
        "nrrd in letters": nrrd_file(_MADE, encoding="ascii"),
        "nrrd of blocks": nrrd_file(_MADE, type="block"),
        "nrrd without directions": nrrd_file(_MADE, space_directions="none none none"),
        "broken png": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "broken jpeg file": b"\xff\xd8\xff\xe0" + bytes(100),
    }
