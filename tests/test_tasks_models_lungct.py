"""The lung model: the two lungs of a phantom in ml, told apart, and what is said beside."""

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from volume_files import ML, dicom_zip, nifti, phantom, with_uids

from tasks.imaging.volumes import lungs
from tasks.imaging.volumes.body import body_square
from tasks.imaging.volumes.opening import open_volume
from tasks.imaging.volumes.volume import Volume
from tasks.models import lungct, weights
from tasks.models.base import Output

MODEL = lungct.MODEL
FILES = {name: Path(lungct.__file__).with_name(one.member) for name, one in MODEL.weights.items()}


@pytest.fixture(scope="module")
def session() -> Any:
    """The network as hosts without a GPU run it."""
    [one] = MODEL.cpu["mnn"].weights.values()
    return MODEL.cpu["mnn"].load({"lungct": Path(lungct.__file__).with_name(one.member)}, 1)


def scores(session: Any, volume: Volume) -> np.ndarray:
    batch = MODEL.preprocess(volume, lungct.LungCt()).astype(np.float32)
    return np.stack(MODEL.cpu["mnn"].infer(session, batch)).astype(np.float16)


def answer(session: Any, volume: Volume) -> Output:
    return MODEL.postprocess(scores(session, volume), volume, lungct.LungCt(), ())


@pytest.mark.parametrize("axes", ["LPS", "RAI"])
def test_the_lungs_of_a_phantom_have_their_millilitres_and_left_is_left(
    session: Any, axes: str
) -> None:
    output = answer(session, open_volume(nifti(phantom(axes, (2.5, 2.5, 6)))))

    found = {region["label"]: region["ml"] for region in output.data["regions"]}
    assert found == pytest.approx(
        {"Right lung": ML["right"], "Left lung": ML["left"]}, rel=TOLERANCE
    )
    assert output.data["total_ml"] == pytest.approx(sum(found.values()), abs=0.2)


TOLERANCE = 0.01


def test_the_mask_lies_on_the_grid_of_the_file_and_has_both_lungs(session: Any) -> None:
    data = nifti(phantom("RAI", (4, 4, 8)), is_zipped=False)

    output = answer(session, open_volume(data))

    mask = nibabel.Nifti1Image.from_bytes(gzip.decompress(output.files["mask.nii.gz"].data))
    theirs = nibabel.Nifti1Image.from_bytes(data)
    assert np.array_equal(mask.affine, theirs.affine) and mask.shape == theirs.shape
    voxels = np.asarray(mask.dataobj)
    assert set(np.unique(voxels)) == {0, lungs.RIGHT, lungs.LEFT}
    assert np.median(np.asarray(theirs.dataobj)[voxels > 0]) == -850
    left = nibabel.affines.apply_affine(mask.affine, np.argwhere(voxels == lungs.LEFT)).mean(axis=0)
    assert left[0] < 0  # in RAS, x leads to the right


def test_an_answer_says_that_it_is_no_diagnosis_and_what_was_assumed(session: Any) -> None:
    output = answer(session, open_volume(nifti(phantom(spacing=(5, 5, 20)))))

    assert output.notes[0] == lungct.DISCLAIMER == output.data["intended_use"]
    assert output.images["preview"].shape == (768, 1024, 3)
    assert output.data["orientation"] == "LPS"


def test_a_volume_without_lungs_is_said_to_have_none() -> None:
    volume = Volume(np.full((6, 64, 64), 40, np.int16), (5, 5, 5), _grid((6, 64, 64)))
    nothing = np.zeros((6, 1, 256, 256), np.float16)

    output = MODEL.postprocess(nothing, volume, lungct.LungCt(), ())

    assert output.notes[-1] == "No lungs were found in this volume."
    assert output.data["total_ml"] == 0


def test_lungs_that_reach_the_end_of_the_scan_are_said_to_be_cut(session: Any) -> None:
    made = phantom(spacing=(4, 4, 8))
    volume = open_volume(nifti(made))
    half = Volume(volume.voxels[:14], volume.spacing_mm, _grid(volume.voxels[:14].shape))

    output = answer(session, half)

    assert "they may be cut off" in output.notes[-1]


def _grid(shape: tuple[int, ...]) -> dict[str, Any]:
    from tasks.imaging.volumes.grid import USUAL, placed

    return placed(shape, USUAL)[0].as_json()


def test_a_volume_of_unknown_spacing_has_no_millilitres(session: Any) -> None:
    volume = open_volume(nifti(phantom(spacing=(4, 4, 16))))
    unknown = Volume(volume.voxels, (0, 0, 0), volume.grid)

    output = answer(session, unknown)

    assert [region["ml"] for region in output.data["regions"]] == [None, None]
    assert output.data["total_ml"] is None


def test_both_engines_give_the_same_scores(session: Any) -> None:
    volume = open_volume(nifti(phantom(spacing=(4, 4, 40))))
    net = MODEL.load(FILES, "cpu")
    batch = torch.from_numpy(MODEL.preprocess(volume, lungct.LungCt())).float()

    theirs = np.stack([each.numpy() for each in MODEL.infer(net, batch)])

    assert np.abs(theirs - scores(session, volume)).max() < 0.02


def test_the_weights_are_small_and_those_of_the_card() -> None:
    assert sum(file.stat().st_size for file in FILES.values()) <= 4e6
    for name, one in MODEL.weights.items():
        assert weights.fetch(one, Path("unused")) == FILES[name]


def test_lungs_that_touch_are_cut_where_they_are_thinnest() -> None:
    mask = np.zeros((1, 256, 256), bool)
    mask[0, 60:180, 40:115] = mask[0, 60:180, 140:220] = True
    mask[0, 60:66, 115:140] = True  # they touch in front of the heart

    sides = lungs.told_apart(mask)

    assert (sides[0, 100, :120] != lungs.LEFT).all() and (sides[0, 100, 140:] != lungs.RIGHT).all()
    assert ((sides > 0) == mask).all()


def test_gas_in_the_bowel_is_no_lung_and_a_large_lung_full_of_air_is() -> None:
    mask = np.zeros((20, 256, 256), bool)
    mask[5:20, 60:180, 40:115] = True
    mask[0:3, 100:140, 160:200] = True
    small = np.full(mask.shape, -980, np.float16)

    clean = lungs.cleaned(mask, small)

    assert clean[5:].any() and not clean[:5].any()


def test_gas_is_known_by_what_lies_off_its_border_where_pixels_are_half_tissue() -> None:
    mask = np.zeros((20, 256, 256), bool)
    mask[5:20, 60:180, 40:115] = True
    mask[0:3, 100:108, 160:200] = True
    small = np.full(mask.shape, -850, np.float16)
    small[0:3, 100:108, 160:200] = -800
    small[0:3, 102:106, 162:198] = -980

    clean = lungs.cleaned(mask, small)

    assert clean[5:].any() and not clean[:5].any()


def test_small_holes_are_filled_and_the_dome_of_the_diaphragm_is_not() -> None:
    mask = np.zeros((1, 256, 256), bool)
    mask[0, 60:180, 40:115] = True
    mask[0, 70:75, 50:55] = mask[0, 100:140, 60:100] = False

    clean = lungs.cleaned(mask, np.zeros(mask.shape, np.float16))

    assert clean[0, 72, 52] and not clean[0, 120, 80]


@pytest.mark.parametrize("is_dicom", [True, False])
def test_a_dicom_seg_is_written_of_a_dicom_series_where_it_is_asked_for(
    session: Any, is_dicom: bool
) -> None:
    made = phantom("LPS", (4, 4, 12))
    data = dicom_zip(made, change=with_uids) if is_dicom else nifti(made)
    params = lungct.LungCt(dicom_seg=True)
    volume = open_volume(data, with_source=MODEL.needs_source(params))

    output = MODEL.postprocess(scores(session, volume), volume, params, ())

    written = output.files.get("seg.dcm")
    assert (written and written.data[128:132]) == (b"DICM" if is_dicom else None)
    assert (lungct.NO_SEG in output.notes) is not is_dicom


def test_a_slice_at_the_end_with_a_few_pixels_of_lung_has_none() -> None:
    mask = np.zeros((20, 256, 256), bool)
    mask[5:15, 60:180, 40:115] = True
    mask[4, 60, 40:45] = mask[3, 60, 40] = mask[15, 100, 50:70] = True

    clean = lungs.cleaned(mask, np.zeros(mask.shape, np.float16))

    assert np.flatnonzero(clean.any(axis=(1, 2))).tolist() == list(range(5, 16))


@pytest.mark.parametrize("air", [-850, -500])
def test_the_rim_of_a_dense_lung_is_lung_as_that_of_one_full_of_air_is(air: int) -> None:
    slices = np.full((1, 256, 256), 40, np.int16)
    slices[0, 50:200, 50:200] = round(air + 0.5 * (40 - air))  # where a pixel is half a lung's
    slices[0, 51:199, 51:199] = air
    scores = np.full((1, 256, 256), 0.1, np.float16)
    square = body_square(slices)
    inside = lungs.crops(slices, square)[0] < 0.5 * (air + 40) - 1
    scores[0, inside] = 0.9

    mask = lungs.find(scores, slices).mask[0] > 0

    assert abs(int(mask.sum()) - 150 * 150) < 150
    assert mask[50, 60:190].all() and mask[60:190, 199].all()
