"""What a request gives becomes one canonical set of parameters, or a sentence that helps."""

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from tasks.errors import BadInput
from tasks.models.base import Params
from tasks.models.cutouts import CutoutParams
from web.jobs.parameters import canonical


class Example(Params):
    gain: float = Field(1.5, ge=0, le=4)
    steps: int = Field(3, ge=1, le=10)
    mode: Literal["fast", "fine"] = "fast"
    smooth: bool = True
    label: str = Field("", max_length=5)


class Needy(Params):
    size: int


SCHEMA = Example.model_json_schema()
DEFAULTS = {"gain": 1.5, "steps": 3, "mode": "fast", "smooth": True, "label": ""}


def test_nothing_given_gives_the_defaults() -> None:
    assert canonical(SCHEMA, {}) == DEFAULTS


def test_what_is_given_wins_over_the_default() -> None:
    assert canonical(SCHEMA, {"gain": 2.5, "mode": "fine"}) == {
        **DEFAULTS,
        "gain": 2.5,
        "mode": "fine",
    }


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("gain", "2.5", 2.5),
        ("gain", "2", 2.0),
        ("steps", "7", 7),
        ("smooth", "false", False),
        ("smooth", "0", False),
        ("smooth", "off", False),
        ("smooth", "True", True),
        ("mode", "fine", "fine"),
        ("label", "1", "1"),
        ("label", "true", "true"),
    ],
)
def test_a_querys_string_is_read_as_what_it_stands_for(name: str, text: str, value: object) -> None:
    number = canonical(SCHEMA, {name: text})[name]

    assert number == value and type(number) is type(value)


def test_1_and_1_0_are_one_number() -> None:
    gains = [canonical(SCHEMA, {"gain": given})["gain"] for given in (1, 1.0, "1", "1.0", "1e0")]

    assert {repr(value) for value in gains} == {"1.0"}


def test_a_whole_float_is_an_integer_where_one_is_wanted() -> None:
    steps = [canonical(SCHEMA, {"steps": given})["steps"] for given in (7, 7.0)]

    assert {repr(value) for value in steps} == {"7"}


def test_an_unknown_name_is_told_with_those_there_are() -> None:
    with pytest.raises(BadInput, match="unknown parameter 'gian'.*: gain, steps, mode") as caught:
        canonical(SCHEMA, {"gian": 2})

    assert (caught.value.code, caught.value.status) == ("bad_params", 422)


def test_a_model_without_parameters_says_so() -> None:
    with pytest.raises(BadInput, match="this model's parameters: none"):
        canonical(Params.model_json_schema(), {"gain": 2})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gain", 4.01),
        ("gain", -1),
        ("gain", "much"),
        ("gain", None),
        ("gain", True),
        ("steps", 0),
        ("steps", 2.5),
        ("steps", "2.5"),
        ("steps", [3]),
        ("mode", "slow"),
        ("smooth", "maybe"),
        ("smooth", 2),
        ("label", "too long"),
        ("label", {"a": 1}),
    ],
)
def test_a_value_beyond_the_limits_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(BadInput, match=f"parameter {name}: ") as caught:
        canonical(SCHEMA, {name: value})

    assert caught.value.code == "bad_params"


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
def test_what_is_no_finite_number_is_refused(value: str) -> None:
    with pytest.raises(BadInput, match="parameter gain: "):
        canonical(SCHEMA, {"gain": value})


def test_a_missing_parameter_without_default_is_named() -> None:
    with pytest.raises(BadInput, match="'size' is a required property"):
        canonical(Needy.model_json_schema(), {})


def test_the_same_refusal_comes_again() -> None:
    for _ in range(2):
        with pytest.raises(BadInput):
            canonical(SCHEMA, {"gain": 5})


def test_an_answer_that_was_changed_does_not_change_the_next() -> None:
    canonical(SCHEMA, {})["gain"] = 99

    assert canonical(SCHEMA, {}) == DEFAULTS


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "gain": st.floats(0, 4) | st.integers(0, 4),
            "steps": st.integers(1, 10),
            "mode": st.sampled_from(["fast", "fine"]),
            "smooth": st.booleans(),
            "label": st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        },
    )
)
def test_what_is_canonical_stays_so_and_fits_the_model(given: dict[str, Any]) -> None:
    params = canonical(SCHEMA, given)

    assert canonical(SCHEMA, params) == params
    assert Example(**params).model_dump() == params


@pytest.mark.parametrize("size", ["9" * 30, int("9" * 30)])
def test_a_number_beyond_64_bits_is_refused(size: object) -> None:
    with pytest.raises(BadInput) as caught:
        canonical(Needy.model_json_schema(), {"size": size})

    assert caught.value.code == "bad_params"


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        canonical(SCHEMA, {"label": "\ud800"})

    assert caught.value.code == "bad_params"


def test_a_text_in_no_form_that_it_may_have_is_told_in_words_what_it_may_be() -> None:
    schema = CutoutParams.model_json_schema()

    with pytest.raises(BadInput) as caught:
        canonical(schema, {"background": "red"})

    assert "'red'" in str(caught.value) and "^" not in str(caught.value)
    assert "#rrggbb: a colour" in str(caught.value.hint)
