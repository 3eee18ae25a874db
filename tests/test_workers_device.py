"""One device: what is chosen, how models are warmed and measured, how batches run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from stack import REPOSITORY

from tasks.errors import ModelFailure, Unavailable
from tasks.models import registry
from workers import device as device_module
from workers.device import Device, Loaded, card, choose

pytest_plugins = ["inprocess"]

MODELS = REPOSITORY / "tests" / "models"

COUNTING = """
import torch
from tasks.models.base import Model, Output, Params

SEEN = []

def infer(session, batch):
    SEEN.append(tuple(batch.shape))
    assert torch.is_inference_mode_enabled()
    return {answer}

MODEL = Model(
    title="Counting", kind="labels", params=Params, load=lambda weights, device: {session},
    preprocess=lambda image, params: None, infer=infer,
    postprocess=lambda output, image, params, wanted: Output(),
    bins=((8, 8), (8, 16)), decode="none", max_batch=4,
)
"""


@pytest.fixture
def plug_in(in_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes model `name` of this file's kind and lets the registry find it."""

    def write(name: str, answer: str = "batch + 1", session: str = "None") -> None:
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.py").write_text(COUNTING.format(answer=answer, session=session))
        monkeypatch.setenv("PIXELMILL_MODEL_PATHS", str(folder))
        device_module.settings.cache_clear()

    return write


def seen(name: str) -> list[tuple[int, ...]]:
    """Shapes of the batches that the plug-in was given."""
    shapes: list[tuple[int, ...]] = registry.get(name).infer.__globals__["SEEN"]
    return shapes


@pytest.mark.parametrize(
    ("wanted", "is_there", "chosen"),
    [
        ("cpu", True, "cpu"),
        ("cpu", False, "cpu"),
        ("auto", True, "cuda"),
        ("auto", False, "cpu"),
        ("cuda", True, "cuda"),
    ],
)
def test_the_device_is_what_is_wanted_or_there(
    monkeypatch: pytest.MonkeyPatch, wanted: str, is_there: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)

    assert choose(wanted) == chosen


def test_a_gpu_that_is_asked_for_and_not_there_is_no_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(Unavailable, match="torch sees no GPU") as caught:
        choose("cuda")

    assert "PIXELMILL_DEVICE=auto" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("a_ms", "b_ms", "largest"),
    [(40, 5, 16), (8, 0.5, 16), (0, 10, 1), (1, 50, 1), (5, 5, 16)],
    ids=["slow", "fast", "serial", "nearly serial", "half"],
)
def test_images_are_batched_where_it_pays(a_ms: float, b_ms: float, largest: int) -> None:
    model: Any = SimpleNamespace(max_batch=16)

    assert Loaded(model, None, a_ms, b_ms).max_batch == largest


def test_every_bin_is_warmed(plug_in: Any) -> None:
    plug_in("warmed")

    Device("cpu").load("warmed")

    assert {shape[2:] for shape in seen("warmed")} == {(8, 8), (8, 16)}
    assert {shape[0] for shape in seen("warmed")} == {1, 2}, "measured with one and two"


def test_a_batch_runs_as_one_and_answers_in_order(plug_in: Any) -> None:
    plug_in("ordered")
    device = Device("cpu")
    device.load("ordered")
    arrays = [np.full((3, 8, 8), number, np.float32) for number in range(3)]
    before = len(seen("ordered"))

    answers = device.run(("ordered", (3, 8, 8), "float32"), arrays)

    assert seen("ordered")[before:] == [(3, 3, 8, 8)]
    assert [float(answer.max()) for answer in answers] == [1, 2, 3]
    assert all(answer.shape == (3, 8, 8) and answer.dtype == np.float32 for answer in answers)


def test_read_only_arrays_can_be_run(plug_in: Any) -> None:
    plug_in("mapped")
    device = Device("cpu")
    device.load("mapped")
    array = np.zeros((3, 8, 8), np.float32)
    array.flags.writeable = False

    [answer] = device.run(("mapped", array.shape, "float32"), [array])

    assert float(answer.max()) == 1


def test_half_precision_comes_back_as_float32(plug_in: Any) -> None:
    plug_in("halves", answer="batch.half()")
    device = Device("cpu")
    device.load("halves")

    [answer] = device.run(("halves", (3, 8, 8), "float32"), [np.ones((3, 8, 8), np.float32)])

    assert answer.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("bad_load", {"session": "1 / 0"}, "ZeroDivisionError: division by zero"),
        ("bad_infer", {"answer": "session.missing"}, "AttributeError: 'NoneType' object has no"),
    ],
)
def test_a_model_that_cannot_be_warmed_says_why(
    plug_in: Any, name: str, given: dict[str, str], reason: str
) -> None:
    plug_in(name, **given)

    with pytest.raises(ModelFailure, match=f"model '{name}' could not be warmed up: {reason}"):
        Device("cpu").load(name)


def test_a_card_has_all_that_others_know_of_a_model(
    in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMILL_MODEL_PATHS", str(MODELS))
    device_module.settings.cache_clear()
    device = Device("cpu")
    device.load("toy")

    found = card("toy", device.loaded["toy"], "cpu")

    assert (found["name"], found["title"], found["kind"]) == ("toy", "Toy brightener", "labels")
    assert found["params"]["properties"]["gain"]["default"] == 1.5
    assert found["weights"].startswith("sha256:") and found["code"].startswith("sha256:")
    assert (found["licence"], found["decode"], found["device"]) == ("Apache-2.0", "rgb", "cpu")
    assert set(found["cost_ms"]) == {"a", "b"} and min(found["cost_ms"].values()) >= 0
    assert found["weights_bytes"] == 0
