"""The one thing that the page asks of Python: to draw the form of the chosen model."""

import json
from collections.abc import Awaitable, Callable, Sequence

import anyio.from_thread
import gradio as gr
import structlog
from gradio.components import Component

from web.api.responses import ModelBody
from web.page import forms
from web.words import t

log = structlog.get_logger()

Models = Callable[[], Awaitable[Sequence[ModelBody]]]
"""Returns what `GET /api/v1/models` lists."""


def form(models: Models) -> Callable[[str | None], None]:
    """The function for `gr.render`: draws the fields of the model with the given name."""

    def draw(name: str | None) -> None:
        model = _model(models, name)
        if model is None:
            gr.Markdown(t("The options of this model cannot be shown right now. Reload the page."))
            return
        fields = forms.fields(model["params"], model.get("texts", {}))
        drawn = [(field, forms.component(field)) for field in fields]
        if not drawn:
            gr.Markdown(t("This model has no options."))
        _bind(name, [pair for pair in drawn if not pair[0].is_fixed])

    return draw


def _model(models: Models, name: str | None) -> ModelBody | None:
    """The model of this name, or None. Runs in one of Gradio's worker threads."""

    async def listing() -> Sequence[ModelBody]:
        return await models()

    try:
        listed = anyio.from_thread.run(listing)
    except Exception:
        log.exception("models not listed")  # whatever the reason, the page must be drawn
        return None
    return next((model for model in listed if model["name"] == name), None)


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
