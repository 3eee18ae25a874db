"""A mask as DICOM segmentation (SEG), on the slices of the series that it is of.

Of the patient it has nothing but the UIDs by which viewers find the series: name, number and dates
are empty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.imaging.volumes.grid import Grid
from tasks.imaging.volumes.source import Source

if TYPE_CHECKING:  # pydicom and highdicom are imported where a segmentation is asked for
    from pydicom.dataset import Dataset

MEDIA_TYPE = "application/dicom"
_EMPTY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber",
          "StudyID", "StudyDate", "StudyTime")  # fmt: skip


@dataclass(frozen=True)
class Segment:
    """A value of the mask, as SNOMED CT calls it."""

    label: str
    code: str


def is_available() -> bool:
    """Whether the package is there that writes segmentations."""
    return find_spec("highdicom") is not None


def write(
    mask: NDArray[np.uint8], grid: Grid, source: Source, segments: Mapping[int, Segment], maker: str
) -> bytes:
    """The SEG of slices with small whole numbers, of which none may be empty of all segments.

    `segments`: value of the mask -> what it is, from 1 on. `maker`: the algorithm's name. Slices
    that were filled in have no file to refer to and are left out.
    """
    import highdicom
    from highdicom.seg import Segmentation, SegmentationTypeValues

    array, rows = grid.back(mask), source["slices"]
    kept = [k for k, row in enumerate(rows) if row]
    made = Segmentation(
        source_images=[_image(source, rows[k], grid) for k in kept],
        pixel_array=np.ascontiguousarray(array[kept]),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(n, segment, maker) for n, segment in segments.items()],
        series_instance_uid=highdicom.UID(),
        series_number=1,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="Pixelmill",
        manufacturer_model_name=maker,
        software_versions=version("pixelmill"),
        device_serial_number="0",
        content_label="SEGMENTATION",
    )
    _refer_to_frames(made, [rows[k] for k in kept])
    stream = BytesIO()
    made.save_as(stream)
    return stream.getvalue()


def _description(number: int, segment: Segment, maker: str) -> Any:
    import highdicom
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.coding import Code

    algorithm = highdicom.AlgorithmIdentificationSequence(
        maker, Code("123109", "DCM", "Artificial Intelligence"), version("pixelmill")
    )
    return SegmentDescription(
        number,
        segment.label,
        Code("123037004", "SCT", "Anatomical Structure"),
        Code(segment.code, "SCT", segment.label),
        SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm,
    )


def _image(source: Source, row: Mapping[str, Any], grid: Grid) -> "Dataset":
    """What is known of a slice's file, as a file of one frame, which highdicom takes many of."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

    image, sides = Dataset(), np.linalg.norm(grid.affine[:3, :3], axis=0)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for name in _EMPTY:
        setattr(image, name, "")
    image.SOPClassUID = CTImageStorage if row["frame"] else UID(row["class"])
    image.SOPInstanceUID = row["instance"]
    image.StudyInstanceUID, image.SeriesInstanceUID = source["study"], source["series"]
    image.FrameOfReferenceUID, image.Modality = source["frame_of_reference"], "CT"
    image.Rows, image.Columns = grid.shape[1:]
    image.ImagePositionPatient = [_decimal(value) for value in row["position"]]
    unit = (grid.affine[:3, :2] / sides[:2]).T.reshape(-1)
    image.ImageOrientationPatient = [_decimal(value) for value in unit]
    image.PixelSpacing = [_decimal(sides[1]), _decimal(sides[0])]
    image.SliceThickness = _decimal(sides[2])
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    return image


def _decimal(value: float) -> str:
    """As DICOM's decimal strings have it, 16 characters at most."""
    return f"{float(value):.10g}"[:16]


def _refer_to_frames(made: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Of slices of a file of many frames, name the frame too; their file is then listed once."""
    frames = {tuple(_decimal(value) for value in row["position"]): row["frame"] for row in rows}
    if not any(frames.values()):
        return
    for group in made.PerFrameFunctionalGroupsSequence:
        place = group.PlanePositionSequence[0].ImagePositionPatient
        for derivation in group.DerivationImageSequence:
            for image in derivation.SourceImageSequence:
                image.ReferencedSOPClassUID = rows[0]["class"]
                image.ReferencedFrameNumber = frames[tuple(_decimal(value) for value in place)]
    for series in made.ReferencedSeriesSequence:
        series.ReferencedInstanceSequence = series.ReferencedInstanceSequence[:1]
        series.ReferencedInstanceSequence[0].ReferencedSOPClassUID = rows[0]["class"]
