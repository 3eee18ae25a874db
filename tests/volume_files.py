"""A phantom of a chest with known lungs, and files of it as scanners and programs write them."""

import bz2
import gzip
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from tasks.imaging import helper

helper.ANSWER_S = 60.0  # the decoder of volumes imports much, and a machine may be busy

SECRET = "Secret^Patient"
"""The patient's name in each DICOM file: it may appear nowhere."""

# Centre and half axes in mm, LPS. The right lung is the larger one, and reaches higher.
BODY = ((0, 0, 0), (150, 100, 400))
LUNGS = {"right": ((-65, 0, 10), (48, 62, 75)), "left": ((65, 5, 0), (42, 58, 66))}
ML = {side: 4 / 3 * np.pi * np.prod(axes) / 1000 for side, (_, axes) in LUNGS.items()}
AIR, TISSUE, LUNG = -1000, 40, -850


@dataclass(frozen=True)
class Phantom:
    """Its voxels k, j, i in HU, and the affine (i, j, k) -> LPS."""

    voxels: np.ndarray
    affine: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        return np.linalg.norm(self.affine[:3, :3], axis=0)


def phantom(axes: str = "LPS", spacing=(2.5, 2.5, 4.0), tilt: float = 0.0) -> Phantom:
    """Columns, rows and slices lead to `axes`. `tilt`: mm that a slice lies further back than the
    one below it."""
    vectors = {"L": (1, 0, 0), "P": (0, 1, 0), "S": (0, 0, 1)}
    vectors |= {o: tuple(-v for v in vectors[n]) for n, o in zip("LPS", "RAI", strict=True)}
    reach = {"L": 165, "R": 165, "P": 125, "A": 125, "S": 100, "I": 100}
    affine = np.eye(4)
    shape = []
    corner = np.zeros(3)
    for n, (letter, step) in enumerate(zip(axes, spacing, strict=True)):
        direction = np.array(vectors[letter], float)
        shape.append(int(2 * reach[letter] / step))
        affine[:3, n] = direction * step
        corner -= direction * step * (shape[-1] - 1) / 2
    affine[1, 2] += tilt
    affine[:3, 3] = corner - affine[:3, 2] * 0
    affine[1, 3] -= tilt * (shape[2] - 1) / 2
    k, j, i = np.meshgrid(*(np.arange(n) for n in shape[::-1]), indexing="ij", sparse=True)
    place = [
        affine[n, 0] * i + affine[n, 1] * j + affine[n, 2] * k + affine[n, 3] for n in range(3)
    ]

    def inside(middle, half):
        return sum(((place[n] - middle[n]) / half[n]) ** 2 for n in range(3)) < 1

    voxels = np.where(inside(*BODY), TISSUE, AIR)
    for lung in LUNGS.values():
        voxels = np.where(inside(*lung), LUNG, voxels)
    return Phantom(voxels.astype(np.int16), affine)


def slice_file(
    made: Phantom,
    k: int,
    change: Callable[[Dataset], None] = lambda file: None,
    *,
    slope: float = 1,
    intercept: float = -1024,
    is_implicit: bool = False,
) -> bytes:
    """Slice `k` as a DICOM file, after `change`."""
    file = _described(made)
    file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, f"1.2.826.0.1.{k + 1}"
    file.InstanceNumber = len(made.voxels) - k
    file.ImagePositionPatient = _place(made, k)
    file.ImageOrientationPatient = _directions(made)
    file.PixelSpacing = [str(round(float(side), 4)) for side in made.spacing[[1, 0]]]
    file.SliceThickness = str(round(float(made.spacing[2]), 4))
    file.RescaleSlope, file.RescaleIntercept = str(slope), str(intercept)
    stored = np.rint((made.voxels[k].astype(float) - intercept) / slope)
    file.PixelData = stored.astype("<u2").tobytes()
    change(file)
    stream = io.BytesIO()
    syntax = file.file_meta.TransferSyntaxUID
    if is_implicit:
        file.file_meta.TransferSyntaxUID = syntax = "1.2.840.10008.1.2"
    if syntax.is_encapsulated if hasattr(syntax, "is_encapsulated") else False:
        file["PixelData"].is_undefined_length = True
    file.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _described(made: Phantom) -> Dataset:
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.Modality, file.SeriesInstanceUID = "CT", "1.2.826.0.1"
    file.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    file.PatientName, file.PatientID, file.StudyDate = SECRET, "4711", "20260229"
    file.Rows, file.Columns = made.voxels.shape[1:]
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 0
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    return file


def _place(made: Phantom, k: float) -> list[str]:
    return [f"{value:.4f}" for value in (made.affine @ [0, 0, k, 1])[:3]]


def _directions(made: Phantom) -> list[str]:
    unit = made.affine[:3, :2] / made.spacing[:2]
    return [f"{value:.6f}" for value in unit.T.reshape(-1)]


def with_uids(file: Dataset) -> None:
    """The UIDs that a DICOM SEG refers to, which most tests do without."""
    file.StudyInstanceUID, file.FrameOfReferenceUID = "1.2.826.0.7", "1.2.826.0.8"


def zipped(files: Sequence[bytes], names: Sequence[str] = ()) -> bytes:
    """A zip of these files, their names in no order that helps."""
    stream = io.BytesIO()
    names = names or [f"series/IM{(7 * n + 3) % 101:03}{n}" for n in range(len(files))]
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in zip(names, files, strict=True):
            archive.writestr(name, data)
    return stream.getvalue()


def dicom_zip(made: Phantom, **how: Any) -> bytes:
    """The series as a zip of one file per slice."""
    return zipped([slice_file(made, k, **how) for k in range(len(made.voxels))])


def multi_frame(made: Phantom, change: Callable[[Dataset], None] = lambda file: None) -> bytes:
    """An enhanced CT: one file, each frame with a scale of its own, frames in no order."""
    file = _described(made)
    file.SOPClassUID, file.SOPInstanceUID = EnhancedCTImageStorage, "1.2.826.0.1.9"
    order = np.random.default_rng(1).permutation(len(made.voxels))
    file.NumberOfFrames = len(order)
    shared, lies, measures = Dataset(), Dataset(), Dataset()
    lies.ImageOrientationPatient = _directions(made)
    measures.PixelSpacing = [str(round(float(side), 4)) for side in made.spacing[[1, 0]]]
    measures.SliceThickness = str(round(float(made.spacing[2]), 4))
    shared.PlaneOrientationSequence = Items([lies])
    shared.PixelMeasuresSequence = Items([measures])
    file.SharedFunctionalGroupsSequence = Items([shared])
    frames, stored = [], []
    for n, k in enumerate(order):
        frame, where, scale = Dataset(), Dataset(), Dataset()
        where.ImagePositionPatient = _place(made, int(k))
        scale.RescaleSlope, scale.RescaleIntercept = str(1 + n % 2), str(-1024 - n % 2 * 10)
        frame.PlanePositionSequence = Items([where])
        frame.PixelValueTransformationSequence = Items([scale])
        frames.append(frame)
        stored.append((made.voxels[k] + 1024 + n % 2 * 10) / (1 + n % 2))
    file.PerFrameFunctionalGroupsSequence = Items(frames)
    file.PixelData = np.rint(stored).astype("<u2").tobytes()
    change(file)
    stream = io.BytesIO()
    file.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def nifti(made: Phantom, *, is_zipped: bool = True, version: int = 1, **fields: Any) -> bytes:
    """As NIfTI, whose axes and affine are RAS."""
    import nibabel

    ras = np.diag([-1, -1, 1, 1]) @ made.affine
    make = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    image = make(made.voxels.transpose(2, 1, 0), ras)
    image.header.set_xyzt_units("mm")
    for name, value in fields.items():
        image.header[name] = value
    data = image.to_bytes()
    return gzip.compress(data, 1) if is_zipped else data


def nrrd_file(made: Phantom, *, encoding: str = "gzip", space: str = "LPS", **fields: Any) -> bytes:
    """As NRRD. `space`: LPS or RAS."""
    turn = np.diag([1.0, 1, 1, 1]) if space == "LPS" else np.diag([-1.0, -1, 1, 1])
    names = {"LPS": "left-posterior-superior", "RAS": "right-anterior-superior"}
    affine = turn @ made.affine

    def vector(values):
        return "(" + ",".join(f"{value:.6f}" for value in values) + ")"

    sizes = " ".join(str(side) for side in made.voxels.shape[::-1])
    header = {
        "type": "int16",
        "dimension": "3",
        "space": names[space],
        "sizes": sizes,
        "space directions": " ".join(vector(affine[:3, n]) for n in range(3)),
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": encoding,
        "space origin": vector(affine[:3, 3]),
    } | {name.replace("_", " "): value for name, value in fields.items()}
    lines = [f"{name}: {value}" for name, value in header.items() if value is not None]
    data = made.voxels.astype("<i2").tobytes()
    pack = {"gzip": gzip.compress, "bzip2": bz2.compress}.get(encoding, bytes)
    packed = pack(data)
    return ("NRRD0004\n" + "\n".join(lines) + "\n\n").encode() + packed


WRITERS: dict[str, Callable[[Phantom], bytes]] = {
    "dicom zip": dicom_zip,
    "multi-frame": multi_frame,
    "nifti": nifti,
    "nrrd": nrrd_file,
}
