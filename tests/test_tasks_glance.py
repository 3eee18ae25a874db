"""The small picture that a model needs before and after the device is made once."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from storage.jobs.spec import RunRef
from storage.scratch import FolderScratch
from tasks import postprocess, preprocess
from tasks import work as works
from tasks.models import matting
from tasks.models.base import Model, Output
from tasks.models.matting import Matting
from tasks.work import Work

PHOTO = np.random.default_rng(3).integers(0, 256, (90, 120, 3), np.uint8)
SMALL = np.full((4, 4, 3), 7, np.uint8)


@pytest.fixture
def arrays(tmp_path, monkeypatch) -> FolderScratch:
    store = FolderScratch(tmp_path)
    monkeypatch.setattr(preprocess, "scratch", lambda: store)
    monkeypatch.setattr(works, "scratch_store", lambda: store)
    return store


def model(seen: list[Any]) -> Model:
    """It notes which small pictures it is given."""

    def before(image: Any, params: Any, small: Any) -> np.ndarray:
        seen.append(small)
        return np.zeros((3, *matting.MODEL.bins[0]), np.float32)

    def after(output: Any, image: Any, params: Any, wanted: Any, small: Any) -> Output:
        seen.append(small)
        return Output(images={"alpha": image[..., 0]})

    return replace(
        matting.MODEL, glance=lambda image, params: SMALL, preprocess=before, postprocess=after
    )


def work_of(model: Model) -> Work:
    spec: Any = type("Spec", (), {"output": []})()
    work = Work(RunRef("glance" * 8, 1), spec)
    work.__dict__.update(model=model, params=Matting())
    return work


def test_what_preprocess_has_looked_at_is_what_postprocess_is_given(arrays):
    seen: list[Any] = []
    work = work_of(model(seen))

    preprocess._prepared(work, PHOTO)
    postprocess._finished(work, np.zeros(1), PHOTO)

    assert [each.tolist() for each in seen] == [SMALL.tolist()] * 2


def test_postprocess_does_without_a_small_picture_that_is_gone(arrays):
    seen: list[Any] = []

    postprocess._finished(work_of(model(seen)), np.zeros(1), PHOTO)

    assert seen == [None]


def test_the_small_picture_is_deleted_with_the_other_arrays():
    assert "glance" in works.ARRAYS


@pytest.mark.parametrize("box", ["", "0.1,0.2,0.7,0.9"])
def test_a_cut_out_is_the_same_with_the_small_picture_and_without(box):
    params = Matting(box=box, effort="fast")
    chances = np.zeros((1, 320, 320), np.float32)
    chances[:, 80:240, 100:220] = 1

    alone = matting.postprocess(chances, PHOTO, params, [])
    given = matting.postprocess(chances, PHOTO, params, [], matting.glance(PHOTO, params))

    assert (alone.images["alpha"] == given.images["alpha"]).all()
    assert (alone.data, alone.notes) == (given.data, given.notes)


def test_a_small_picture_of_another_size_than_the_map_is_not_used():
    chances = np.zeros((1, 160, 160), np.float32)  # as of a device that was too small
    chances[:, 40:120, 50:110] = 1
    params = Matting(effort="fast")

    alone = matting.postprocess(chances, PHOTO, params, [])
    given = matting.postprocess(chances, PHOTO, params, [], matting.glance(PHOTO, params))

    assert (alone.images["alpha"] == given.images["alpha"]).all()
