"""Forms: what a JSON schema of parameters becomes on the page."""

from enum import StrEnum
from typing import Annotated, Any, Literal

import gradio as gr
import pytest
from pydantic import BaseModel, Field

from tasks.models.matting import Matting
from web.page import forms


def only(annotation: Any, default: Any = ...) -> forms.Field:
    """The field of a model that has one parameter, `soft_edge`."""
    model = type("M", (BaseModel,), {"__annotations__": {"soft_edge": annotation}})
    if default is not ...:
        model = type(
            "M", (BaseModel,), {"__annotations__": {"soft_edge": annotation}, "soft_edge": default}
        )
    (field,) = forms.fields(model.model_json_schema())
    return field


class Quality(StrEnum):
    """An enum, which pydantic puts behind a `$ref`."""

    FAST = "fast"
    VERY_FINE = "very_fine"


def test_a_flag_is_a_checkbox_with_its_default():
    field = only(bool, True)

    assert (field.kind, field.default, field.label) == ("checkbox", True, "Soft Edge")
    assert isinstance(forms.component(field), gr.Checkbox)


def test_a_number_with_both_limits_is_a_slider():
    field = only(Annotated[float, Field(ge=0, le=8)], 1.5)

    assert (field.kind, field.minimum, field.maximum, field.step) == ("slider", 0, 8, 0.01)
    assert forms.component(field).value == 1.5


def test_whole_numbers_move_by_one():
    field = only(Annotated[int, Field(ge=1, le=20)], 5)
    slider = forms.component(field)

    assert (field.kind, field.step, field.integer) == ("slider", 1, True)
    assert (slider.minimum, slider.maximum, slider.precision) == (1, 20, 0)


def test_a_step_of_the_schema_is_kept():
    assert only(Annotated[int, Field(ge=0, le=64, multiple_of=8)], 8).step == 8


def test_excluded_limits_move_in_by_one_step():
    field = only(Annotated[float, Field(gt=0, lt=1)], 0.5)

    assert (field.minimum, field.maximum) == (0.01, 0.99)


def test_a_number_without_a_limit_is_a_number_field():
    field = only(Annotated[int, Field(ge=0)], 3)

    assert field.kind == "number"
    assert isinstance(forms.component(field), gr.Number)


def test_few_choices_are_radio_buttons_in_words():
    field = only(Literal["keep", "very_clean"], "keep")

    assert field.choices == (("Keep", "keep"), ("Very clean", "very_clean"))
    assert isinstance(forms.component(field), gr.Radio)


def test_many_choices_are_a_drop_down():
    field = only(Literal[1, 2, 3, 4, 5], 2)

    assert isinstance(forms.component(field), gr.Dropdown)
    assert forms.component(field).value == 2


def test_an_enum_behind_a_reference_is_followed():
    field = only(Quality, Quality.FAST)

    assert field.choices == (("Fast", "fast"), ("Very fine", "very_fine"))
    assert field.default == "fast"


def test_an_optional_parameter_is_that_of_its_type():
    field = only(Annotated[float, Field(ge=0, le=1)] | None, None)

    assert (field.kind, field.default) == ("slider", None)


def test_text_is_a_text_field_and_a_colour_is_picked():
    assert only(str, "hello").kind == "text"
    colour = only(Annotated[str, Field(json_schema_extra={"format": "color"})], "#ff0000")
    assert isinstance(forms.component(colour), gr.ColorPicker)


def test_what_has_no_form_is_json():
    field = only(list[int], [1, 2])

    assert (field.kind, field.default) == ("json", "[1, 2]")
    assert isinstance(forms.component(field), gr.Textbox)


def test_title_unit_and_description_reach_the_person():
    field = only(
        Annotated[
            int,
            Field(
                ge=0, le=9, title="Feather", description="Soft.", json_schema_extra={"unit": "px"}
            ),
        ],
        0,
    )

    assert (field.label, field.info) == ("Feather (px)", "Soft.")


def test_fields_keep_the_order_of_the_schema():
    class Several(BaseModel):
        zeta: int = 1
        alpha: bool = False

    names = [field.name for field in forms.fields(Several.model_json_schema())]

    assert names == ["zeta", "alpha"]


@pytest.mark.parametrize("schema", [{}, {"type": "object", "properties": {}}])
def test_a_model_without_parameters_has_no_fields(schema: dict[str, Any]):
    assert forms.fields(schema) == []


def test_every_component_can_be_changed_by_the_person():
    for field in (only(bool, True), only(str, ""), only(Annotated[int, Field(ge=0, le=9)], 1)):
        assert forms.component(field).interactive is True


def test_what_the_viewer_composes_itself_is_not_in_the_form() -> None:
    assert [field.name for field in forms.fields(Matting.model_json_schema())] == [
        "profile",
        "effort",
        "subjects",
        "refine",
        "clean",
    ]


def test_one_choice_is_text_with_what_there_is_to_know_of_it():
    field = only(Annotated[Literal["fast"], Field(description="Others: <b>ask</b>.")], "fast")
    shown = forms.component(field)

    assert isinstance(shown, gr.HTML)
    assert "Soft Edge: <b>Fast</b>" in shown.value and "&lt;b&gt;ask" in shown.value


def test_a_line_ends_between_the_parts_of_a_setting_and_not_within_a_word():
    text = "Add it: PIXELMILL_PROFILES=matting:quality,matting:detail, then restart."
    field = only(Annotated[Literal["fast"], Field(description=text)], "fast")

    assert "PROFILES=<wbr>matting:quality,<wbr>matting:detail, then" in forms.component(field).value
