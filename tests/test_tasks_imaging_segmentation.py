"""A mask as DICOM SEG, read back by pydicom."""

from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage
from volume_files import (
    SECRET,
    Phantom,
    dicom_zip,
    multi_frame,
    nifti,
    phantom,
    slice_file,
    with_uids,
    zipped,
)

from tasks.imaging.volumes import grid, segmentation
from tasks.imaging.volumes.opening import open_volume
from tasks.models.lungct import SEGMENTS

pytest.importorskip("highdicom", reason="highdicom, the extra dicom-seg, is not installed")


def halves(made: Phantom) -> np.ndarray:
    """Of the slices of Volume: 1 in the body's right, 2 in its left."""
    mask = np.zeros(made.voxels.shape, np.uint8)
    dark = made.voxels == -850
    middle = mask.shape[2] // 2
    mask[:, :, :middle][dark[:, :, :middle]] = 1
    mask[:, :, middle:][dark[:, :, middle:]] = 2
    return mask


def written(data: bytes, made: Phantom) -> Dataset:
    volume = open_volume(data, with_source=True)
    assert volume.source
    lies = grid.read(volume.grid)
    return dcmread(
        BytesIO(segmentation.write(halves(made), lies, volume.source, SEGMENTS, "lungct"))
    )


def test_the_files_of_a_long_series_are_all_known() -> None:
    made = phantom(spacing=(7, 7, 2))

    volume = open_volume(dicom_zip(made, change=with_uids), with_source=True)

    assert volume.source
    assert len(volume.source["slices"]) == len(made.voxels) == 100


@pytest.mark.parametrize("kind", ["series", "multi-frame"])
def test_each_frame_lies_where_its_slice_does_and_refers_to_it(kind: str) -> None:
    made = phantom(spacing=(4, 4, 8))
    series = kind == "series"
    data = dicom_zip(made, change=with_uids) if series else multi_frame(made, with_uids)

    file = written(data, made)

    mask, pixels = halves(made), file.pixel_array
    seen = set()
    for frame, group in zip(pixels, file.PerFrameFunctionalGroupsSequence, strict=True):
        place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        k = round(float((np.linalg.inv(made.affine) @ [*place, 1])[2]))
        value = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        np.testing.assert_array_equal(frame, mask[k] == value)
        [source] = group.DerivationImageSequence[0].SourceImageSequence
        if series:
            assert source.ReferencedSOPInstanceUID == f"1.2.826.0.1.{k + 1}"
        else:
            stored = dcmread(BytesIO(data)).PerFrameFunctionalGroupsSequence
            its = stored[source.ReferencedFrameNumber - 1].PlanePositionSequence[0]
            assert np.array(its.ImagePositionPatient, float) == pytest.approx(place)
            assert source.ReferencedSOPClassUID == EnhancedCTImageStorage
        seen.add((k, value))
    assert seen == {(k, v) for v in (1, 2) for k in np.flatnonzero((mask == v).any(axis=(1, 2)))}
    shared = file.SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == pytest.approx([4, 4])
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == pytest.approx(
        [1, 0, 0, 0, 1, 0]
    )


def test_segments_are_right_and_left_and_nothing_is_of_the_patient_but_uids() -> None:
    made = phantom(spacing=(4, 4, 20))

    file = written(dicom_zip(made, change=with_uids), made)

    codes = [
        (segment.SegmentNumber, segment.SegmentedPropertyTypeCodeSequence[0].CodeValue)
        for segment in file.SegmentSequence
    ]
    assert codes == [(1, "3341006"), (2, "44029006")], "right lung and left lung of SNOMED CT"
    assert (file.StudyInstanceUID, file.FrameOfReferenceUID) == (
        "1.2.826.0.7",
        "1.2.826.0.8",
    )
    assert file.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.826.0.1"
    assert not any(file.get(name) for name in ("PatientName", "PatientID", "StudyDate"))
    assert SECRET not in str(file)


def test_a_slice_that_was_filled_in_has_no_frame() -> None:
    made = phantom(spacing=(4, 4, 8))
    kept = [k for k in range(len(made.voxels)) if k != 12]

    file = written(zipped([slice_file(made, k, with_uids) for k in kept]), made)

    places = {g.PlanePositionSequence[0].ImagePositionPatient[2]
              for g in file.PerFrameFunctionalGroupsSequence}  # fmt: skip
    assert round(float((made.affine @ [0, 0, 12, 1])[2]), 4) not in places
    assert len(places) == len(np.flatnonzero(halves(made).any(axis=(1, 2)))) - 1


@pytest.mark.parametrize("data", [dicom_zip(phantom(spacing=(5, 5, 25))), nifti(phantom())])
def test_without_the_uids_of_a_series_there_is_no_source(data: bytes) -> None:
    assert open_volume(data, with_source=True).source is None
