"""Volumes of all accepted kinds: the cells of the table in docs/lungct.md."""

import bz2
import gzip
import io
import json
from collections.abc import Callable

import cv2
import imagecodecs
import nibabel
import numpy as np
import pytest
import SimpleITK
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from volume_files import (
    AIR,
    LUNG,
    ML,
    SECRET,
    TISSUE,
    WRITERS,
    Phantom,
    dicom_zip,
    multi_frame,
    nifti,
    nrrd_file,
    phantom,
    slice_file,
    zipped,
)

from tasks.errors import BadInput
from tasks.imaging.volumes import grid, lungs
from tasks.imaging.volumes.limits import Limits
from tasks.imaging.volumes.nifti import mask_file
from tasks.imaging.volumes.opening import open_volume
from tasks.imaging.volumes.volume import Volume

MADE = phantom(spacing=(4, 4, 8))
SPACINGS = ((3, 3, 5), (2.5, 3, 4), (4, 4, 4), (3.5, 2.5, 6))
ORIENTATIONS = (
    "LPS", "RPS", "LAS", "RAS", "LPI", "RAI", "PSL", "LSP", "SLP", "ASR", "RIA", "LSA",
)  # fmt: skip


def found(volume: Volume) -> lungs.Lungs:
    """The lungs as a perfect network would score them: what is dark within the body."""
    square = lungs.body_square(volume.voxels)
    small = lungs.crops(volume.voxels, square).astype(np.float32)
    scores = np.clip((-405 - small) / 890 + 0.5, 0, 1)
    for score, slice_ in zip(scores, small, strict=True):
        score *= lungs.components.filled((slice_ > -405).astype(np.uint8), slice_.size)
    return lungs.find(scores, volume.voxels)


def millilitres(volume: Volume) -> dict[str, float]:
    mask, one = found(volume).mask, float(np.prod(volume.spacing_mm)) / 1000
    return {"right": (mask == lungs.RIGHT).sum() * one, "left": (mask == lungs.LEFT).sum() * one}


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_a_phantom_has_its_millilitres_and_its_left_in_each_orientation_and_format(
    axes: str,
) -> None:
    made = phantom(axes, SPACINGS[ORIENTATIONS.index(axes) % len(SPACINGS)])

    volumes = {name: open_volume(write(made)) for name, write in WRITERS.items()}

    first = volumes["dicom zip"]
    assert millilitres(first) == pytest.approx(ML, rel=0.01)
    for volume in volumes.values():
        np.testing.assert_array_equal(volume.voxels, first.voxels)
        assert volume.spacing_mm == pytest.approx(first.spacing_mm, rel=1e-4)


def test_slices_are_ordered_by_where_they_lie_and_names_and_numbers_are_not_trusted() -> None:
    volume = open_volume(dicom_zip(MADE))

    np.testing.assert_array_equal(volume.voxels, MADE.voxels)
    assert volume.spacing_mm == pytest.approx([8, 4, 4])


def test_each_slice_is_read_by_its_own_scale() -> None:
    count = len(MADE.voxels)
    files = [slice_file(MADE, k, slope=1 + k % 3, intercept=-1024 - k) for k in range(count)]

    volume = open_volume(zipped(files))

    assert np.abs(volume.voxels - MADE.voxels.astype(int)).max() <= 1.5
    assert any("own" in note for note in volume.notes)


def test_one_slice_alone_is_a_volume_of_its_thickness() -> None:
    volume = open_volume(slice_file(MADE, 12))

    np.testing.assert_array_equal(volume.voxels, MADE.voxels[12:13])
    assert volume.spacing_mm == pytest.approx([8, 4, 4])


def test_of_several_series_the_largest_axial_ct_is_used_and_the_others_are_named() -> None:
    small = phantom(spacing=(5, 5, 25))
    others = [
        slice_file(small, k, lambda file: setattr(file, "SeriesInstanceUID", "1.2.826.0.2"))
        for k in range(len(small.voxels))
    ]

    def localizer(file) -> None:
        file.SeriesInstanceUID, file.ImageType = "1.2.3", ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    series = [slice_file(MADE, k) for k in range(len(MADE.voxels))]
    junk = [slice_file(MADE, 3, localizer), b"Exported by a viewer.", b"\0\5\x16\7"]
    names = [f"{n}" for n in range(len(others) + len(series) + 2)] + ["__MACOSX/._1"]

    volume = open_volume(zipped([*others, *series, *junk], names))

    np.testing.assert_array_equal(volume.voxels, MADE.voxels)
    assert volume.notes == [
        "The files hold several series; the largest axial CT was used: 25 slices of 82 x 62.",
        "Left out: a series of 8 CT pictures of 66 x 50.",
        "Localizer pictures were left out: 1.",
        "Files that are no CT slices were left out: 1 (files sorted by name, number 35).",
    ]


def test_slices_at_the_same_position_are_left_out() -> None:
    files = [slice_file(MADE, k) for k in [*range(len(MADE.voxels)), 4, 5]]

    volume = open_volume(zipped(files))

    assert len(volume.voxels) == len(MADE.voxels)
    assert "left out: 2." in volume.notes[0]


def test_missing_slices_are_filled_in_and_said() -> None:
    files = [slice_file(MADE, k) for k in range(len(MADE.voxels)) if k != 9]

    volume = open_volume(zipped(files))

    assert volume.notes == [
        "Missing slices were filled in between their neighbours: 1 (from the feet, number 10)."
    ]
    assert millilitres(volume) == pytest.approx(millilitres(open_volume(dicom_zip(MADE))), rel=0.02)


def with_damaged(*places: int) -> bytes:
    """A zip of the series, of which the files of these slices lack the second half."""
    files = [slice_file(MADE, k) for k in range(len(MADE.voxels))]
    names = [f"{SECRET}-{k}.dcm" for k in range(len(files))]
    for k in places:
        files[k] = files[k][: len(files[k]) // 2]
    return zipped(files, names)


def test_a_damaged_slice_is_filled_in_and_it_and_its_file_are_named_by_numbers() -> None:
    volume = open_volume(with_damaged(9))

    assert volume.notes == [
        "Damaged slices were filled in between their neighbours: 1 (from the feet, number 10; "
        "files sorted by name, number 10)."
    ]
    whole = np.array([each for k, each in enumerate(volume.voxels) if k != 9])
    np.testing.assert_array_equal(whole, np.delete(MADE.voxels, 9, axis=0))
    between = (MADE.voxels[8].astype(float) + MADE.voxels[10]) / 2
    assert np.abs(volume.voxels[9] - between).max() <= 0.5


@pytest.mark.parametrize("places", [(24,), (3, 9, 15)], ids=["at an end", "too many"])
def test_damaged_slices_that_cannot_be_filled_in_are_refused_by_their_numbers(places) -> None:
    named = ", ".join(str(k + 1) for k in places)

    with pytest.raises(
        BadInput, match=f"{len(places)} .files sorted by name, number {named}."
    ) as e:
        open_volume(with_damaged(*places))

    assert (e.value.code, SECRET in str(e.value)) == ("damaged_slices", False)


def test_a_file_whose_header_is_damaged_is_counted_by_its_name_and_never_named() -> None:
    files = [slice_file(MADE, k) for k in range(len(MADE.voxels))]
    files[9] = bytes(300)
    names = [f"{SECRET}-{k}" for k in range(len(files))]

    volume = open_volume(zipped(files, names))

    assert volume.notes == [
        "Files that are no CT slices were left out: 1 (files sorted by name, number 10).",
        "Missing slices were filled in between their neighbours: 1 (from the feet, number 10).",
    ]


def test_of_slices_that_are_not_axial_none_is_counted_from_the_feet() -> None:
    made = phantom("LSP", spacing=(4, 4, 4))
    files = [slice_file(made, k) for k in range(len(made.voxels)) if k != 9]

    volume = open_volume(zipped(files))

    assert "Missing slices were filled in between their neighbours: 1." in volume.notes


def test_slices_that_lead_to_the_feet_are_counted_from_the_feet_too() -> None:
    made = phantom("LAI", spacing=(4, 4, 8))
    files = [slice_file(made, k) for k in range(len(made.voxels)) if k != 1]

    volume = open_volume(zipped(files))

    assert "(from the feet, number 24)" in volume.notes[0]


def test_slices_of_uneven_distances_are_refused_with_the_distances() -> None:
    files = [slice_file(MADE, k) for k in [0, 1, 2, 3, 4, 10, 11, 20, 21]]

    with pytest.raises(BadInput, match="from 8 to 72 mm"):
        open_volume(zipped(files))


def test_a_tilted_gantry_is_said_and_changes_no_volume() -> None:
    made = phantom(spacing=(3, 3, 5), tilt=1.5)

    volume = open_volume(dicom_zip(made))

    assert volume.notes == ["The gantry was tilted by 17 degrees; slices were used as they lie."]
    assert volume.spacing_mm[0] == pytest.approx(5, abs=1e-3)
    assert millilitres(volume) == pytest.approx(ML, rel=0.01)


@pytest.mark.parametrize("says_so", [True, False])
def test_what_the_scanner_has_not_seen_is_air(says_so: bool) -> None:
    def change(file) -> None:
        stored = np.frombuffer(file.PixelData, "<i2").reshape(MADE.voxels.shape[1:]).copy()
        stored[:4] = -2000
        file.PixelData, file.PixelRepresentation = stored.tobytes(), 1
        if says_so:
            file.PixelPaddingValue = -2000

    volume = open_volume(slice_file(MADE, 12, change, intercept=0))

    assert (volume.voxels[0, :4] == -1024).all()
    np.testing.assert_array_equal(volume.voxels[0, 4:], MADE.voxels[12, 4:])


def test_bits_beside_the_stored_ones_are_ignored() -> None:
    def change(file) -> None:
        stored = np.frombuffer(file.PixelData, "<u2") | 0xF000  # an overlay, as old files have
        file.PixelData, file.BitsStored, file.HighBit = stored.tobytes(), 12, 11

    volume = open_volume(slice_file(MADE, 12, change))

    np.testing.assert_array_equal(volume.voxels, MADE.voxels[12:13])


def test_inverted_grey_is_turned() -> None:
    def change(file) -> None:
        stored = 65535 - np.frombuffer(file.PixelData, "<u2")
        file.PixelData, file.PhotometricInterpretation = stored.tobytes(), "MONOCHROME1"

    volume = open_volume(slice_file(MADE, 12, change))

    np.testing.assert_array_equal(volume.voxels, MADE.voxels[12:13])


def test_implicit_vr_is_read() -> None:
    volume = open_volume(slice_file(MADE, 12, is_implicit=True))

    np.testing.assert_array_equal(volume.voxels, MADE.voxels[12:13])


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_deflated_and_big_endian_files_are_read(syntax: str) -> None:
    def change(file) -> None:
        file.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            file.PixelData = np.frombuffer(file.PixelData, "<u2").byteswap().tobytes()
            file["PixelData"].VR = "OW"

    volume = open_volume(slice_file(MADE, 12, change))

    np.testing.assert_array_equal(volume.voxels, MADE.voxels[12:13])


def coloured(file) -> None:
    file.SamplesPerPixel, file.PhotometricInterpretation = 3, "RGB"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PlanarConfiguration = 8, 8, 7, 0
    file.PixelData = bytes(3 * file.Rows * file.Columns)


def captured(file) -> None:
    file.SOPClassUID, file.Modality = SecondaryCaptureImageStorage, "SC"
    del file.ImagePositionPatient, file.ImageOrientationPatient, file.PixelSpacing


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (coloured, "The pictures of this file are not grey."),
        (captured, "There is no CT in these files, only SC."),
        (lambda file: setattr(file, "Modality", "MR"), "There is no CT in these files, only MR."),
        (lambda file: setattr(file, "BitsAllocated", 64), "contradicts itself"),
    ],
)
def test_colour_film_other_kinds_and_wide_pixels_are_refused(
    change: Callable, sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        open_volume(slice_file(MADE, 12, change))


def test_a_file_without_its_preamble_is_read() -> None:
    volume = open_volume(slice_file(MADE, 12)[132:])

    np.testing.assert_array_equal(volume.voxels, MADE.voxels[12:13])


CODECS: dict[str, tuple[str, Callable[[np.ndarray], bytes], int]] = {
    "JPEG lossless": (
        JPEGLosslessSV1,
        lambda a: imagecodecs.jpeg8_encode(a, lossless=True, bitspersample=16),
        0,
    ),
    "JPEG 12 bits": (
        JPEGExtended12Bit,
        lambda a: imagecodecs.jpeg8_encode(a, level=98, bitspersample=12),
        24,
    ),
    "JPEG-LS": (JPEGLSLossless, imagecodecs.jpegls_encode, 0),
    "JPEG 2000": (
        JPEG2000Lossless,
        lambda a: imagecodecs.jpeg2k_encode(a, level=0, reversible=True, codecformat="j2k"),
        0,
    ),
    "JPEG 2000, signed by mistake": (
        JPEG2000Lossless,
        lambda a: imagecodecs.jpeg2k_encode(
            a.astype(np.int16), level=0, reversible=True, codecformat="j2k"
        ),
        0,
    ),
    "HTJ2K": (HTJ2KLossless, lambda a: imagecodecs.htj2k_encode(a, reversible=True), 0),
}


@pytest.mark.parametrize("name", CODECS)
def test_compressed_slices_are_read(name: str) -> None:
    syntax, encode, tolerance = CODECS[name]

    def change(file) -> None:
        stored = np.frombuffer(file.PixelData, "<u2").reshape(MADE.voxels.shape[1:])
        file.PixelData = encapsulate([encode(stored)])
        file.file_meta.TransferSyntaxUID = syntax
        if name == "JPEG 12 bits":
            file.BitsStored, file.HighBit = 12, 11

    volume = open_volume(slice_file(MADE, 12, change))

    assert np.abs(volume.voxels - MADE.voxels[12:13].astype(int)).max() <= tolerance


def test_a_compressed_slice_that_is_cut_short_is_filled_in() -> None:
    files = [
        slice_file(MADE, k, lambda file: file.compress(RLELossless))
        for k in range(len(MADE.voxels))
    ]
    files[9] = files[9][:-900]

    volume = open_volume(zipped(files))

    assert "between their neighbours: 1 (from the feet, number 10;" in volume.notes[0]


def test_run_lengths_are_read() -> None:
    volume = open_volume(slice_file(MADE, 12, lambda file: file.compress(RLELossless)))

    np.testing.assert_array_equal(volume.voxels, MADE.voxels[12:13])


@pytest.mark.parametrize(
    ("fields", "factor", "shift"),
    [
        ({}, 1, 0),
        ({"scl_slope": 0, "scl_inter": 500}, 1, 0),
        ({"scl_slope": 2, "scl_inter": -30}, 2, -30),
    ],
)
def test_nifti_is_scaled_as_nibabel_does(fields: dict, factor: float, shift: float) -> None:
    data = nifti(MADE, is_zipped=False)
    image = bytearray(data)
    for at, name in ((112, "scl_slope"), (116, "scl_inter")):
        if name in fields:
            image[at : at + 4] = np.float32(fields[name]).tobytes()

    volume = open_volume(bytes(image))

    expected = np.clip(MADE.voxels.astype(int) * factor + shift, -1024, 32767)
    np.testing.assert_array_equal(volume.voxels, expected)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("is_zipped", [True, False])
def test_nifti_2_is_read(is_zipped: bool, order: str) -> None:
    image = nibabel.Nifti2Image(
        MADE.voxels.transpose(2, 1, 0),
        np.diag([-1, -1, 1, 1]) @ MADE.affine,
        header=nibabel.Nifti2Header(endianness=order),
    )
    data = image.to_bytes()

    volume = open_volume(gzip.compress(data, 1) if is_zipped else data)

    np.testing.assert_array_equal(volume.voxels, MADE.voxels)
    assert volume.spacing_mm == pytest.approx([8, 4, 4])


def test_of_a_nifti_of_four_axes_the_first_volume_is_used_and_said() -> None:
    both = np.stack([MADE.voxels.transpose(2, 1, 0), np.zeros_like(MADE.voxels.T)], axis=-1)
    image = nibabel.Nifti1Image(both, np.diag([-1, -1, 1, 1]) @ MADE.affine)

    volume = open_volume(image.to_bytes())

    np.testing.assert_array_equal(volume.voxels, MADE.voxels)
    assert volume.notes == ["The file has 2 volumes; the first was used."]
    mask = mask_file(np.zeros(volume.voxels.shape, np.uint8), grid.read(volume.grid))
    assert nibabel.Nifti1Image.from_bytes(gzip.decompress(mask)).shape == image.shape[:3]


def test_nifti_of_floats_with_holes_and_the_other_byte_order_is_read() -> None:
    voxels = MADE.voxels.astype(">f4")
    voxels[0, 0, 0] = np.nan
    image = nibabel.Nifti1Image(
        voxels.transpose(2, 1, 0),
        np.diag([-4, -4, 8, 1]),
        header=nibabel.Nifti1Header(endianness=">"),
    )
    image.set_data_dtype(">f4")

    volume = open_volume(image.to_bytes())

    assert volume.voxels[0, 0, 0] == -1024
    np.testing.assert_array_equal(volume.voxels[1:], MADE.voxels[1:])


def test_nifti_without_a_form_is_read_and_its_sides_are_doubted() -> None:
    image = bytearray(nifti(MADE, is_zipped=False))
    image[252:256] = bytes(4)

    volume = open_volume(bytes(image))

    assert any("Left and right may be exchanged" in note for note in volume.notes)


def test_values_without_their_offset_are_shifted_and_said() -> None:
    shifted = Phantom((MADE.voxels + 1024).astype(np.int16), MADE.affine)

    volume = open_volume(nifti(shifted))

    np.testing.assert_array_equal(volume.voxels, MADE.voxels)
    assert volume.notes == ["Air is near 0 in this volume, so 1024 was subtracted from all values."]


@pytest.mark.parametrize(
    "how",
    [
        {"encoding": "raw"},
        {"encoding": "bzip2"},
        {"space": "RAS"},
        {"byte_skip": "-1", "encoding": "raw"},
    ],
)
def test_nrrd_of_each_kind_is_read(how: dict) -> None:
    volume = open_volume(nrrd_file(MADE, **how))

    np.testing.assert_array_equal(volume.voxels, MADE.voxels)
    assert volume.spacing_mm == pytest.approx([8, 4, 4])


def exported(slice_: np.ndarray, low: int, high: int, ending: str) -> bytes:
    grey = np.clip((slice_.astype(float) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    return cv2.imencode(ending, grey)[1].tobytes()


@pytest.mark.parametrize("ending", [".png", ".jpg"])
@pytest.mark.parametrize("window", [(-1000, 400), (-1350, 150), (-1024, 1024)])
def test_exported_pictures_are_near_their_values_and_give_no_millilitres(
    ending: str, window: tuple[int, int]
) -> None:
    volume = open_volume(exported(MADE.voxels[12], *window, ending))

    middle = {
        value: np.median(volume.voxels[0][MADE.voxels[12] == value])
        for value in (AIR, LUNG, TISSUE)
    }
    assert middle == pytest.approx({AIR: AIR, LUNG: LUNG, TISSUE: TISSUE}, abs=80)
    assert not volume.is_hu and volume.spacing_mm == [0, 0, 0]
    assert any("window is unknown" in note for note in volume.notes)


def with_noise() -> list[bytes]:
    noise = np.random.default_rng(1).normal(0, 30, MADE.voxels.shape)
    return [exported(slice_, -1000, 400, ".png") for slice_ in MADE.voxels + noise]


def test_masks_that_lie_beside_the_pictures_are_no_slices() -> None:
    slices = with_noise()
    masks = [
        cv2.imencode(".png", np.uint8(each == LUNG) * 255)[1].tobytes() for each in MADE.voxels
    ]
    names = [f"{n:03}_{kind}.png" for kind in ("ct", "mask") for n in range(len(slices))]

    volume = open_volume(zipped([*slices, *masks], names))

    np.testing.assert_array_equal(volume.voxels, open_volume(zipped(slices, names[:25])).voxels)
    assert "Pictures of few values, as masks have, were left out: 25." in volume.notes


def test_an_empty_picture_among_slices_is_one_of_them() -> None:
    files = with_noise()
    files[-1] = cv2.imencode(".png", np.zeros(MADE.voxels.shape[1:], np.uint8))[1].tobytes()

    assert len(open_volume(zipped(files, [f"{n:03}.png" for n in range(25)])).voxels) == 25


def test_of_a_zip_with_several_volumes_the_first_is_used_and_said() -> None:
    volume = open_volume(zipped([nifti(MADE), nrrd_file(MADE)], ["a.nii.gz", "b.nrrd"]))

    np.testing.assert_array_equal(volume.voxels, MADE.voxels)
    assert volume.notes == ["The zip has 2 volumes; the first was used."]


def test_a_zip_with_one_volume_in_it_is_that_volume() -> None:
    volume = open_volume(zipped([b"junk", nifti(MADE)], [".DS_Store", "chest.nii.gz"]))

    np.testing.assert_array_equal(volume.voxels, MADE.voxels)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("axes", ["LPS", "RAI", "PSL"])
def test_a_mask_lies_on_the_grid_of_its_nifti_file_byte_by_byte(axes: str, version: int) -> None:
    data = nifti(phantom(axes, (4, 4, 8)), is_zipped=False, version=version, descrip=SECRET)
    volume = open_volume(data)

    mask = gzip.decompress(
        mask_file((volume.voxels < -500).astype(np.uint8), grid.read(volume.grid))
    )

    read = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    theirs, ours = read.from_bytes(data), read.from_bytes(mask)
    for name in ("dim", "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "srow_x"):
        assert theirs.header[name].tobytes() == ours.header[name].tobytes(), name
    assert np.array_equal(theirs.affine, ours.affine)
    np.testing.assert_array_equal(np.asarray(ours.dataobj) > 0, np.asarray(theirs.dataobj) < -500)
    assert SECRET.encode() not in mask


def read_by_itk(data: bytes, file) -> SimpleITK.Image:
    file.write_bytes(data)
    return SimpleITK.ReadImage(str(file))


@pytest.mark.parametrize("axes", ["LPS", "RAI", "PSL"])
@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nrrd"])
def test_simpleitk_sees_the_mask_on_the_grid_of_the_file(axes: str, name: str, tmp_path) -> None:
    made = phantom(axes, (4, 4, 8))
    data = nifti(made) if name.endswith("gz") else nrrd_file(made)
    volume = open_volume(data)

    mask = mask_file((volume.voxels < -500).astype(np.uint8), grid.read(volume.grid))

    theirs, ours = read_by_itk(data, tmp_path / name), read_by_itk(mask, tmp_path / "mask.nii.gz")
    assert theirs.GetSize() == ours.GetSize()
    assert ours.GetOrigin() == pytest.approx(theirs.GetOrigin(), abs=1e-3)
    assert ours.GetSpacing() == pytest.approx(theirs.GetSpacing(), rel=1e-5)
    assert ours.GetDirection() == pytest.approx(theirs.GetDirection(), abs=1e-5)
    arrays = [SimpleITK.GetArrayFromImage(image) for image in (theirs, ours)]
    np.testing.assert_array_equal(arrays[0] < -500, arrays[1] > 0)


def test_no_patient_is_in_what_is_kept_of_a_volume() -> None:
    for data in (dicom_zip(MADE), multi_frame(MADE)):
        facts = json.dumps(open_volume(data).facts())

        assert not any(tag in facts for tag in (SECRET, "4711", "2026", "1.2.826"))


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (Limits(max_bytes=1000), "the limit is 0.000953"),
        (Limits(max_slices=10), "at most 10 are taken"),
        (Limits(max_raw_bytes=10_000), "MiB in memory"),
    ],
)
def test_a_volume_beyond_a_limit_is_refused_with_the_limit(limits: Limits, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        open_volume(nifti(MADE), limits)


def test_a_bomb_of_zeros_is_refused_before_it_is_unpacked() -> None:
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=9) as file:
        file.write(nifti(MADE, is_zipped=False)[:352] + bytes(64 * 2**20))

    with pytest.raises(BadInput, match="unpacks to more than its header says"):
        open_volume(stream.getvalue(), Limits(max_raw_bytes=2**20))


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nrrd", "bzip2"])
def test_gzip_and_bzip2_of_several_members_are_read_to_their_end(name: str) -> None:
    if name == "scan.nii.gz":
        plain, head, pack = nifti(MADE, is_zipped=False), b"", gzip.compress
    else:
        pack = bz2.compress if name == "bzip2" else gzip.compress
        encoding = "bzip2" if name == "bzip2" else "gzip"
        head = nrrd_file(MADE, encoding=encoding).partition(b"\n\n")[0] + b"\n\n"
        plain = MADE.voxels.tobytes()
    members = [pack(plain[at : at + 65280]) for at in range(0, len(plain), 65280)]

    volume = open_volume(head + b"".join(members))

    np.testing.assert_array_equal(volume.voxels, MADE.voxels)


def test_a_gzip_file_of_something_else_is_refused_with_what_is_taken() -> None:
    with pytest.raises(BadInput, match="no NIfTI volume in it"):
        open_volume(gzip.compress(slice_file(MADE, 12)))


def test_slices_of_another_field_in_the_same_series_are_a_series_of_their_own() -> None:
    def wider(file) -> None:
        file.PixelSpacing, file.InstanceNumber = ["5", "5"], 1

    files = [slice_file(MADE, k, wider) for k in range(8)]

    volume = open_volume(zipped([*files, *(slice_file(MADE, k) for k in range(len(MADE.voxels)))]))

    np.testing.assert_array_equal(volume.voxels, MADE.voxels)
    assert volume.notes[1] == "Left out: a series of 8 CT pictures of 82 x 62."


def test_a_series_whose_field_moves_on_the_way_is_refused() -> None:
    def moved(file) -> None:
        x, *others = file.ImagePositionPatient
        file.ImagePositionPatient = [str(x + 40), *others]

    files = [slice_file(MADE, k, *([moved] if k == 12 else [])) for k in range(len(MADE.voxels))]

    with pytest.raises(BadInput, match="one is 40 mm off the others"):
        open_volume(zipped(files))


def test_a_gantry_that_is_tilted_as_scanners_write_it_changes_no_volume() -> None:
    turn = np.radians(18)
    affine = MADE.affine.copy()
    affine[1:3, 1] = 4 * np.cos(turn), 4 * np.sin(turn)

    volume = open_volume(dicom_zip(Phantom(MADE.voxels, affine)))

    assert volume.notes == ["The gantry was tilted by 18 degrees; slices were used as they lie."]
    assert volume.spacing_mm == pytest.approx([8 * np.cos(turn), 4, 4], abs=1e-3)


def test_a_nrrd_of_four_axes_is_said_to_have_them() -> None:
    head, _, voxels = nrrd_file(MADE, encoding="raw").partition(b"\n\n")
    for old, new in (
        (b"dimension: 3", b"dimension: 4"),
        (b"sizes: ", b"sizes: 1 "),
        (b"directions: ", b"directions: none "),
    ):
        head = head.replace(old, new)

    with pytest.raises(BadInput, match="has 4 axes"):
        open_volume(head + b"\n\n" + voxels)


def test_what_a_program_has_filled_up_around_a_scan_is_air() -> None:
    noise = np.random.default_rng(1).integers(-20, 20, MADE.voxels.shape)
    voxels = (MADE.voxels + noise).astype(np.int16)
    y, x = np.ogrid[-1:1:62j, -1:1:82j]
    outside = np.hypot(x, y) > 1
    voxels[:, outside] = 0

    volume = open_volume(nifti(Phantom(voxels, MADE.affine)))

    assert (volume.voxels[:, outside] == -1024).all()
    assert (volume.voxels == np.maximum(voxels, -1024))[:, ~outside].all()
    assert volume.notes == ["Values outside the scanner's circle were read as air."]
