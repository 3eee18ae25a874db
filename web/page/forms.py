"""Forms from schemas: a model's JSON schema becomes fields, and each field a Gradio component."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from math import floor, log10
from typing import Any, Literal

import gradio as gr
from gradio.components import Component

from web.words import t

Kind = Literal["checkbox", "slider", "number", "choice", "colour", "text", "json"]

NO_TEXTS: Mapping[str, str] = {}
RADIO_CHOICES = 4
"""Up to this many choices are radio buttons; more become a drop-down."""
SLIDER_STEPS = 100
"""The least number of positions of a slider over fractions."""


@dataclass(frozen=True)
class Field:
    """One parameter, as the form shows it."""

    name: str
    kind: Kind
    label: str
    info: str | None = None
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    integer: bool = False
    choices: tuple[tuple[str, Any], ...] = ()
    """Pairs of (text that is shown, value that is sent)."""

    @property
    def is_fixed(self) -> bool:
        """Whether there is nothing to choose. The form shows it, and the server fills it in."""
        return len(self.choices) == 1 and self.default == self.choices[0][1]


def fields(schema: Mapping[str, Any], texts: Mapping[str, str] = NO_TEXTS) -> list[Field]:
    """The fields of a JSON schema of an object (pydantic's `model_json_schema`), in its order.

    `texts`: the texts of the model in the language of the page, by their English.

    Without those that are `x-in-viewer`: they are for programs. The page lays the whole matte over
    the person's own photo, so a cropped or shrunk one would lie across it.
    """
    definitions = schema.get("$defs", {})
    properties = schema.get("properties", {})
    shown = {name: prop for name, prop in properties.items() if not prop.get("x-in-viewer")}
    plain = [_field(name, _resolve(prop, definitions)) for name, prop in shown.items()]
    return [_in_language(field, texts) for field in plain]


def _in_language(field: Field, texts: Mapping[str, str]) -> Field:
    return replace(
        field,
        label=_said(field.label, texts),
        info=field.info and _said(field.info, texts),
        choices=tuple((_said(text, texts), value) for text, value in field.choices),
    )


def _said(text: str, texts: Mapping[str, str]) -> str:
    """A text of a model in the page's language; a worker may have added a sentence of ours."""
    for english, own in texts.items():
        if text == english or text.startswith(f"{english} "):
            return f"{own} {t(text[len(english) + 1 :])}".strip()
    return text


def component(field: Field) -> Component:
    """The Gradio component of a field, holding the field's default."""
    if field.is_fixed:
        return _fixed(field)
    component = _MAKERS[field.kind](field)
    component.interactive = True  # Gradio takes a field that no Python function reads for an output
    return component


def _resolve(prop: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Resolve `$ref`, `allOf` of one and `X | None` to a plain schema; outer keys win."""
    inner: Mapping[str, Any] = {}
    if "$ref" in prop:
        inner = definitions.get(prop["$ref"].rsplit("/", 1)[-1], {})
    elif len(options := prop.get("allOf", [])) == 1:
        inner = options[0]
    else:
        options = [option for option in prop.get("anyOf", []) if option.get("type") != "null"]
        if len(options) == 1:
            inner = options[0]
    outer = {k: v for k, v in prop.items() if k not in ("$ref", "allOf")}
    if not inner:
        return outer
    outer.pop("anyOf", None)
    return {**_resolve(inner, definitions), **outer}


def _field(name: str, prop: Mapping[str, Any]) -> Field:
    integer = prop.get("type") == "integer"
    minimum, maximum, step = _range(prop, integer)
    default = prop.get("default")
    kind = _kind(prop, minimum, maximum)
    return Field(
        name=name,
        kind=kind,
        label=_label(name, prop),
        info=prop.get("description"),
        default=json.dumps(default) if kind == "json" and default is not None else default,
        minimum=minimum,
        maximum=maximum,
        step=step,
        integer=integer,
        choices=tuple((_words(value), value) for value in _enum(prop)),
    )


def _kind(prop: Mapping[str, Any], minimum: float | None, maximum: float | None) -> Kind:
    if _enum(prop):
        return "choice"
    match prop.get("type"):
        case "boolean":
            return "checkbox"
        case "integer" | "number":
            return "number" if minimum is None or maximum is None else "slider"
        case "string":
            return "colour" if prop.get("format") == "color" else "text"
    return "json"


def _enum(prop: Mapping[str, Any]) -> list[Any]:
    return list(prop["enum"]) if "enum" in prop else [prop["const"]] if "const" in prop else []


def _range(
    prop: Mapping[str, Any], integer: bool
) -> tuple[float | None, float | None, float | None]:
    """(minimum, maximum, step); an exclusive bound is moved inwards by one step."""
    low, high = prop.get("minimum"), prop.get("maximum")
    above, below = prop.get("exclusiveMinimum"), prop.get("exclusiveMaximum")
    first, last = (low if low is not None else above), (high if high is not None else below)
    step = prop.get("multipleOf") or (1 if integer else _fine_step(first, last))
    if low is None and above is not None:
        low = above + (step or 0)
    if high is None and below is not None:
        high = below - (step or 0)
    return low, high, step


def _fine_step(low: float | None, high: float | None) -> float | None:
    """The power of ten that divides low..high into at least SLIDER_STEPS positions."""
    if low is None or high is None or high <= low:
        return None
    return float(10.0 ** floor(log10((high - low) / SLIDER_STEPS) + 1e-9))


def _label(name: str, prop: Mapping[str, Any]) -> str:
    title = prop.get("title") or _words(name)
    return f"{title} ({prop['unit']})" if prop.get("unit") else title


def _words(value: Any) -> str:
    """`soft_edge` -> `Soft edge`; a value that is not a string -> its text."""
    if not isinstance(value, str):
        return str(value)
    text = value.replace("_", " ")
    return text[:1].upper() + text[1:]


def _checkbox(field: Field) -> Component:
    return gr.Checkbox(bool(field.default), label=field.label, info=field.info)


def _slider(field: Field) -> Component:
    assert field.minimum is not None and field.maximum is not None
    return gr.Slider(
        field.minimum,
        field.maximum,
        field.minimum if field.default is None else field.default,
        step=field.step,
        precision=0 if field.integer else None,
        label=field.label,
        info=field.info,
        buttons=[],
    )


def _number(field: Field) -> Component:
    return gr.Number(
        field.default,
        minimum=field.minimum,
        maximum=field.maximum,
        step=field.step or 1,
        precision=0 if field.integer else None,
        label=field.label,
        info=field.info,
    )


def _choice(field: Field) -> Component:
    choices = list(field.choices)
    if len(choices) <= RADIO_CHOICES:
        return gr.Radio(choices, value=field.default, label=field.label, info=field.info)
    return gr.Dropdown(choices, value=field.default, label=field.label, info=field.info)


def _fixed(field: Field) -> Component:
    text = f"{escape(field.label)}: <b>{escape(field.choices[0][0])}</b>"
    info = f"<small>{_breakable(escape(field.info))}</small>" if field.info else ""
    return gr.HTML(f'<p class="pm-fixed">{text} {info}</p>', apply_default_css=False)


def _breakable(html: str) -> str:
    """With places where a line may end, as a setting is longer than a line."""
    return re.sub(r"([=,])(?=\w)", r"\1<wbr>", html)


def _colour(field: Field) -> Component:
    return gr.ColorPicker(field.default, label=field.label, info=field.info)


def _text(field: Field) -> Component:
    return gr.Textbox(field.default, label=field.label, info=field.info, max_lines=4)


def _json(field: Field) -> Component:
    return gr.Textbox(field.default, label=f"{field.label} (JSON)", info=field.info, max_lines=8)


_MAKERS = {
    "checkbox": _checkbox,
    "slider": _slider,
    "number": _number,
    "choice": _choice,
    "colour": _colour,
    "text": _text,
    "json": _json,
}
