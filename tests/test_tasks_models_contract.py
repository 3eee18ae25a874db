"""What a model's functions may return, and what is said of anything else."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tasks.errors import ModelFailure
from tasks.models import contract
from tasks.models.base import File, Model, Output, Params

IMAGE = np.zeros((40, 60, 3), np.uint8)
ALPHA = np.zeros((40, 60), np.uint8)
MODEL = Model(
    title="Mine",
    kind="matte",
    params=Params,
    load=lambda weights, device: None,
    preprocess=lambda image, params: image,
    infer=lambda session, batch: batch,
    postprocess=lambda *_: Output(),
    bins=((32, 64), (64, 32)),
)
LABELS = replace(MODEL, kind="labels")


def data_of(data: Mapping[str, Any], model: Model = LABELS) -> Mapping[str, Any]:
    return contract.finished(Output(data=data), model, IMAGE).data


def test_an_array_of_a_declared_size_is_taken_as_it_is() -> None:
    array = np.zeros((3, 64, 32), np.float32)

    assert contract.prepared(array, MODEL) is array


def test_an_array_of_float64_becomes_float32() -> None:
    assert contract.prepared(np.zeros((3, 32, 64)), MODEL).dtype == np.float32


def test_slices_of_a_volume_have_one_dimension_more() -> None:
    slices = np.zeros((9, 1, 32, 64), np.float16)

    assert contract.prepared(slices, replace(MODEL, input="volume")) is slices


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (None, "`preprocess` returned nothing; expected an array of NumPy"),
        (np.zeros((3, 32, 64), np.uint8), "an array of uint8; expected C x H x W float32"),
        (np.zeros((1, 3, 32, 64), np.float32), "1 x 3 x 32 x 64; expected C x H x W float32"),
        (np.zeros((3, 31, 64), np.float32), "3 x 31 x 64; expected H x W of 32 x 64 or 64 x 32"),
    ],
)
def test_an_array_that_was_not_declared_is_refused(array: Any, said: str) -> None:
    with pytest.raises(ModelFailure, match=said):
        contract.prepared(array, MODEL)


def test_channels_that_come_last_are_recognised() -> None:
    with pytest.raises(ModelFailure) as raised:
        contract.prepared(np.zeros((32, 64, 3), np.float32), MODEL)

    assert raised.value.hint == "It looks like H x W x C: end with `.transpose(2, 0, 1)`."


@pytest.mark.parametrize("outputs", [np.zeros((2, 1)), [np.zeros(1)] * 2, (np.zeros(1),) * 2])
def test_one_answer_per_image_is_taken(outputs: Any) -> None:
    assert contract.inferred(outputs, np.zeros((2, 3, 32, 64))) is outputs


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (None, "`infer` returned nothing; expected 1 of type ndarray, one per image"),
        (np.float32(0), "a value of type float32"),
        ((np.zeros(1), np.zeros(1)), "2 of them for a batch of 1"),
        ([(np.zeros(1), np.zeros(1))], "a value of type tuple for an image"),
        ([0.0], "a value of type float for an image"),
    ],
)
def test_answers_that_are_not_one_per_image_are_refused(outputs: Any, said: str) -> None:
    with pytest.raises(ModelFailure, match=said):
        contract.inferred(outputs, np.zeros((1, 3, 32, 64)))


def test_several_outputs_of_a_network_are_told_how_to_become_one() -> None:
    with pytest.raises(ModelFailure) as raised:
        contract.inferred((np.zeros(1), np.zeros(1)), np.zeros((1, 3, 32, 64)))

    assert "`torch.cat`" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (None, "`postprocess` returned nothing; expected an Output"),
        ({"alpha": ALPHA}, "a value of type dict; expected an Output"),
        (Output(), "no `alpha`"),
        (Output(images={"alpha": ALPHA[:9]}), "9 x 60; expected that of the image .*, 40 x 60"),
        (Output(images={"alpha": ALPHA / 255}), "'alpha' as float64"),
        (Output(images={"alpha": ALPHA[..., None]}), "'alpha' with the shape 40 x 60 x 1"),
        (Output(images={"alpha": ALPHA, "heat": [[1]]}), "a value of type list as 'heat'"),
        (Output(images={"alpha": ALPHA, "heat.gif": IMAGE}), "a picture 'heat.gif'; expected"),
        (Output(images={"alpha": ALPHA, "../heat": IMAGE}), "called '../heat'; expected a name"),
        (Output(images={"alpha": ALPHA}, files={"a/b": File(b"", "x")}), "called 'a/b'"),
        (Output(images={"alpha": ALPHA}, data=3), "a value of type int as `data`"),  # type: ignore[arg-type]  # what is tested
    ],
)
def test_an_output_that_nobody_can_show_is_refused(output: Any, said: str) -> None:
    with pytest.raises(ModelFailure, match=said):
        contract.finished(output, MODEL, IMAGE)


def test_a_model_that_needs_no_pixels_may_make_a_matte_of_any_size() -> None:
    output = Output(images={"alpha": ALPHA})

    assert contract.finished(output, MODEL, np.zeros((0, 0, 3), np.uint8)).images == output.images


def test_numbers_of_numpy_become_plain_ones() -> None:
    data = {"mean": np.float32(0.5), "n": np.int64(3), "box": np.arange(4), "pair": (1, 2)}

    assert data_of(data) == {"mean": 0.5, "n": 3, "box": [0, 1, 2, 3], "pair": [1, 2]}


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float32("nan"), np.array([np.nan])])
def test_nan_and_infinity_in_data_are_refused(value: Any) -> None:
    with pytest.raises(ModelFailure, match="`data` that is no JSON") as raised:
        data_of({"mean": value})

    assert "return None" in str(raised.value.hint)


def test_what_json_does_not_know_is_named() -> None:
    with pytest.raises(ModelFailure, match=r"no JSON \(a set in it\)"):
        data_of({"seen": {1, 2}})


@pytest.mark.parametrize("labels", [{"cat": 0.5}, ["cat"], [{"score": 0.5}]])
def test_labels_of_another_form_are_refused(labels: Any) -> None:
    with pytest.raises(ModelFailure, match=r"`data\['labels'\]` of another form"):
        data_of({"labels": labels})


def test_a_kind_without_its_list_is_taken() -> None:
    assert data_of({"gain": 2}) == {"gain": 2}
