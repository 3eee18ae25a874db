"""The lung network's training keeps patients apart, sees what is asked, and can be continued."""

import random
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from volume_files import AIR, LUNG, phantom

from tasks.errors import BadInput
from tasks.models.nets.lungct import LungNet
from tasks.training.lungct import data, fit, illness
from tasks.training.lungct.__main__ import main
from tasks.training.lungct.augmentation import augmented


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients of few slices: phantoms."""
    root = tmp_path_factory.mktemp("patients")
    for name, spacing in (("one", (2.5, 2.5, 12)), ("two", (3, 3, 15))):
        (root / name).mkdir()
        for z, slice_ in enumerate(phantom(spacing=spacing).voxels):
            grey = np.clip((slice_ + 1000.0) / 1400 * 255, 0, 255).astype(np.uint8)
            cv2.imwrite(str(root / name / f"{z:03}_ct.png"), grey)
            cv2.imwrite(str(root / name / f"{z:03}_mask.png"), (slice_ == LUNG).astype(np.uint8))
    return root


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # more only wait for each other where other tests run
    yield
    torch.set_num_threads(before)


def test_slices_are_read_in_hounsfield_units(folder: Path) -> None:
    [one, _] = data.read(folder)

    assert list(np.unique(one.slices)) == pytest.approx([AIR, LUNG, 40], abs=3)  # of 8 bits
    np.testing.assert_array_equal(one.lungs, abs(one.slices - LUNG) < 3)


def test_a_patient_that_is_left_out_is_not_used_and_an_unknown_one_is_refused(folder: Path) -> None:
    patients = data.read(folder)

    assert [patient.name for patient in data.without(patients, ["two"])] == ["one"]
    with pytest.raises(BadInput, match="no patient 'three'; there are: one, two"):
        data.without(patients, ["three"])


def test_a_folder_without_patients_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no patients"):
        data.read(tmp_path)


def test_a_view_keeps_its_lungs_and_is_the_same_for_the_same_chance(folder: Path) -> None:
    [one, _] = data.read(folder)

    views = [augmented(one, 8, random.Random(seed)) for seed in (1, 1, 2)]

    np.testing.assert_array_equal(views[0][0], views[1][0])
    assert not np.array_equal(views[0][0], views[2][0])
    for picture, lungs in views:
        assert picture.shape == lungs.shape == (256, 256)
        assert np.median(picture[lungs > 0]) < -400 < np.percentile(picture[lungs == 0], 90)


def test_dense_spots_stay_lung_and_masses_and_fluid_do_not() -> None:
    y, x = np.ogrid[:256, :256]
    lungs = (((x - 128) / 50) ** 2 + ((y - 128) / 80) ** 2 < 1).astype(np.float32)
    picture = np.where(lungs > 0, LUNG, 40).astype(np.float32)

    views = [illness.ill(picture, lungs, random.Random(seed)) for seed in range(60)]

    lost = [lungs > left for _, left in views]
    assert 10 < sum(each.any() for each in lost) < 40
    for (seen, _), where in zip(views, lost, strict=True):
        assert not where.any() or (np.median(seen[where]) > -60 and where.sum() > 50)
    largest_spots = [
        cv2.connectedComponentsWithStats(((seen > -60) & (left > 0)).astype(np.uint8))[2][1:, 4]
        for seen, left in views
    ]
    assert max(sizes.max(initial=0) for sizes in largest_spots) < 4 * illness.SPOT**2 * np.pi


def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "SAVE_EVERY", 1)
    monkeypatch.setattr(fit, "BATCH", 2)
    patients = data.read(folder)
    whole = fit.train(patients, _made(tmp_path / "whole"), 3, "cpu")

    stopped = _made(tmp_path / "stopped")
    steps = iter([fit._step, fit._step])
    monkeypatch.setattr(fit, "_step", lambda *given: next(steps)(*given))
    with pytest.raises(StopIteration):
        fit.train(patients, stopped, 3, "cpu")
    monkeypatch.undo()
    monkeypatch.setattr(fit, "BATCH", 2)
    continued = fit.train(patients, stopped, 3, "cpu")

    states = (each.state_dict().values() for each in (whole, continued))
    for one, other in zip(*states, strict=True):
        torch.testing.assert_close(one, other)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_the_command_writes_small_halves_and_refines_given_ones(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "BATCH", 2)
    common = ["--data", str(folder), "--steps", "1", "--threads", "1", "--device", "cpu"]

    main([*common, "--out", str(tmp_path / "first"), "--leave-out", "two"])
    first = tmp_path / "first" / "lungct.safetensors"
    main([*common, "--out", str(tmp_path / "second"), "--start", str(first)])

    assert first.stat().st_size < 4e6
    LungNet().load_state_dict(load_file(tmp_path / "second" / "lungct.safetensors"))
    assert sum(values.numel() for values in LungNet().parameters()) <= 2e6
