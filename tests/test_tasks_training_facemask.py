"""Training sees what the model will see, keeps persons apart, and continues where it stopped."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from facemask_pictures import write_pictures
from hypothesis import given
from hypothesis import strategies as st

from tasks.models import facemask as model
from tasks.models import weights
from tasks.models.nets.faces import CROP, MARGIN
from tasks.settings import settings
from tasks.training.facemask import augmentation, calibration, data, fit
from tasks.training.facemask.__main__ import main
from tasks.training.facemask.data import BARE, MASK, NOTHING, WRONG, Sample

PHOTO = Path(__file__).parent / "golden" / "astronaut.jpg"


def sample(label: int, split: str = "train", seed: int = 0) -> Sample:
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), np.uint8)
    return Sample(pixels, label, split, 0.9, 1.0)


def few() -> list[Sample]:
    kinds = (MASK, BARE, WRONG, NOTHING)
    return [
        sample(kind, split, 10 * kind + number)
        for split in ("train", "validation")
        for kind in kinds
        for number in range(2)
    ]


@given(st.text(max_size=30))
def test_a_name_is_always_in_the_same_part(name: str) -> None:
    assert data.split_of(name) == data.split_of(name)
    assert data.split_of(name) in ("train", "validation", "test")


def test_parts_have_their_shares() -> None:
    parts = [data.split_of(f"picture {number}") for number in range(4000)]

    assert parts.count("test") / 4000 == pytest.approx(data.TEST, abs=0.02)
    assert parts.count("validation") / 4000 == pytest.approx(data.VALIDATION, abs=0.02)


def test_pictures_of_one_person_are_in_one_part() -> None:
    first, second = (data.person_of(f"data/without/0_0_smith_{k}.jpg") for k in (12, 40))

    assert first == second == "smith"
    assert data.person_of("data/with/a photo.jpg") == "data/with/a photo.jpg"


@pytest.mark.parametrize("kind", [MASK, BARE, WRONG, NOTHING])
def test_a_view_is_what_the_classifier_takes(kind: int) -> None:
    views = [
        augmentation.augmented(sample(kind), random.Random(seed), [sample(NOTHING)])
        for seed in range(40)
    ]

    for crop, label in views:
        assert crop.shape == (CROP, CROP, 3) and crop.dtype == np.uint8
        assert label == kind or (kind, label) == (BARE, MASK)


def test_a_drawn_mask_covers_the_mouth_and_not_the_eyes() -> None:
    pixels = np.full((192, 192, 3), 100, np.uint8)

    changed = (augmentation.draw_mask(pixels, random.Random(1)) != pixels).any(axis=2)

    face = 192 / data.CONTEXT / (1 + 2 * MARGIN)
    mouth, eyes = round(96 + 0.25 * face), round(96 - 0.2 * face)
    assert changed[mouth, 96] and not changed[eyes].any()


def test_nothing_is_put_before_a_mask() -> None:
    pixels, thing = np.zeros((192, 192, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)

    for seed in range(100):
        view = augmentation._partly_hidden(thing, pixels, random.Random(seed), is_bare=False)

        face = 192 / data.CONTEXT / (1 + 2 * MARGIN)
        assert not view[round(96 + 0.3 * face) :, :].any()


def test_masked_and_bare_faces_weigh_the_same_in_calibration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """90 masked and 10 bare faces, one in ten of each on the wrong side of the classifier's nought:
    nought stays even odds, though nine in ten of what scores below it are masked."""
    labels = [MASK] * 90 + [BARE] * 10 + [NOTHING] * 40
    logits = np.zeros((140, 4), np.float32)
    logits[:, [2, 3]] = -20, -5
    wearing = np.array([2.0] * 81 + [-2.0] * 9 + [-2.0] * 9 + [2.0] + [0.0] * 40)
    logits[:, 0], logits[:, 1] = wearing / 2, -wearing / 2
    logits[100:, 3] = 5
    logits[138:, 3], logits[:3, 3] = -5, 5  # or the fit of faces would have no end
    monkeypatch.setattr(calibration, "scores", lambda net, used: logits)

    factor, shift, *_ = calibration.calibrate(
        Any, [sample(label, "validation") for label in labels]
    )

    assert shift == pytest.approx(0, abs=0.01)
    assert 1 / (1 + np.exp(-2 * factor)) == pytest.approx(0.9, abs=0.01)


def test_training_that_was_stopped_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = fit.train(few(), tmp_path / "whole", 2, "cpu").state_dict()
    one_epoch = fit._epoch

    def until_stopped(*arguments: Any) -> float:
        if arguments[5] == 1:
            raise KeyboardInterrupt
        return one_epoch(*arguments)

    monkeypatch.setattr(fit, "_epoch", until_stopped)
    with pytest.raises(KeyboardInterrupt):
        fit.train(few(), tmp_path / "stopped", 2, "cpu")
    monkeypatch.setattr(fit, "_epoch", one_epoch)
    again = fit.train(few(), tmp_path / "stopped", 2, "cpu").state_dict()

    for name, values in whole.items():
        torch.testing.assert_close(again[name], values, msg=name)


def test_a_folder_of_pictures_becomes_weights_that_load(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_pictures(folder)

    out = tmp_path / "out"
    main(["--data", str(folder), "--out", str(out), "--epochs", "1", "--device", "cpu"])

    detector = weights.fetch(model.MODEL.weights["centerface"], settings().weights_path)
    files = {"centerface": detector, "classifier": out / "facemask.safetensors"}
    session = model.load(files, "cpu")
    assert len(session.calibration) == 5
    assert np.isfinite(session.calibration).all()
