"""The one thing that the page asks of Python: to draw the form of the chosen model."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio.from_thread
import gradio as gr
import structlog
from gradio.components import Component

from web.api.responses import ModelBody
from web.page import forms

log = structlog.get_logger()

Models = Callable[[], Awaitable[Sequence[ModelBody]]]
"""Returns what `GET /api/v1/models` lists."""


def form(models: Models) -> Callable[[str | None], None]:
    """The function for `gr.render`: draws the fields of the model with the given name."""

    def draw(name: str | None) -> None:
        schema = _schema(models, name)
        if schema is None:
            gr.Markdown("The options of this model cannot be shown right now. Reload the page.")
            return
        fields = forms.fields(schema)
        drawn = [(field, forms.component(field)) for field in fields]
        if not drawn:
            gr.Markdown("This model has no options.")
        _bind(name, [pair for pair in drawn if not pair[0].is_fixed])

    return draw


def _schema(models: Models, name: str | None) -> Mapping[str, Any] | None:
    """The JSON schema of a model's parameters, or None. Runs in one of Gradio's worker threads."""

    async def listing() -> Sequence[ModelBody]:
        return await models()

    try:
        listed = anyio.from_thread.run(listing)
    except Exception:
        log.exception("models not listed")  # whatever the reason, the page must be drawn
        return None
    return next((model["params"] for model in listed if model["name"] == name), None)


def _bind(name: str | None, drawn: Sequence[tuple[forms.Field, Component]]) -> None:
    """Pass each change of a field to the page's JavaScript, without a request to the server."""
    if not drawn:
        return
    about = json.dumps([{"name": field.name, "kind": field.kind} for field, _ in drawn])
    components = [component for _, component in drawn]
    gr.on(
        [component.change for component in components],  # type: ignore[attr-defined]  # added to each class by Gradio at run time
        fn=None,
        inputs=components,
        js=f"(...values) => window.pixelmill.setParams({json.dumps(name)}, {about}, values)",
    )
