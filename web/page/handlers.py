"""What the page asks of Python: to draw the form of the chosen model, and nothing else."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio.from_thread
import gradio as gr
import structlog
from gradio.components import Component

from web.page import forms

log = structlog.get_logger()

Models = Callable[[], Awaitable[list[dict[str, Any]]]]
"""Gives what `GET /api/v1/models` lists."""


def form(models: Models) -> Callable[[str | None], None]:
    """The body of `gr.render`: the fields of the model with that name."""

    def draw(name: str | None) -> None:
        schema = _schema(models, name)
        if schema is None:
            gr.Markdown("The options of this model cannot be shown right now. Reload the page.")
            return
        fields = forms.fields(schema)
        _hand_over(name, fields, [forms.component(field) for field in fields])

    return draw


def _schema(models: Models, name: str | None) -> dict[str, Any] | None:
    """JSON schema of a model's parameters, or None. Gradio draws forms in a worker thread."""

    async def listing() -> list[dict[str, Any]]:
        return await models()

    try:
        listed = anyio.from_thread.run(listing)
    except Exception:
        log.exception("models not listed")  # whatever it was, the page must stand
        return None
    found: dict[str, Any] = next((m for m in listed if m["name"] == name), {})
    return found.get("params")


def _hand_over(
    name: str | None, fields: Sequence[forms.Field], components: Sequence[Component]
) -> None:
    """Tell the page's JavaScript each change; nothing is sent to the server for it."""
    if not components:
        gr.Markdown("This model has no options.")
        return
    about = json.dumps([{"name": field.name, "kind": field.kind} for field in fields])
    gr.on(
        [component.change for component in components],  # type: ignore[attr-defined]  # added to each class by Gradio at run time
        fn=None,
        inputs=list(components),
        js=f"(...values) => window.pixelmill.setParams({json.dumps(name)}, {about}, values)",
    )
