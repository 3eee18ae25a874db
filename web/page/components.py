"""Places on the page that our own JavaScript fills: empty gr.HTML blocks that mount a module."""

import gradio as gr

PAGE = "/static/page.js"
"""The module with one `mount...` function per place; served by the web process as it is."""


def header() -> gr.HTML:
    """Name of the product and the switch between light and dark."""
    return _place("header", "mountHeader(element)")


def chooser() -> gr.HTML:
    """Choice of the model, drawn from `GET /api/v1/models`; its value is the model's name."""
    return _place("chooser", "mountChooser(element, props)")


def run_bar() -> gr.HTML:
    """`Run again` after a change, and how photos are sent."""
    return _place("runbar", "mountRunBar(element)")


def workbench() -> gr.HTML:
    """Drop zone, photos, progress, result."""
    return _place("workbench", "mountWorkbench(element)")


def _place(name: str, call: str) -> gr.HTML:
    """An HTML component whose markup never changes, so that listeners in it stay."""
    return gr.HTML(
        value="",
        html_template=f'<div class="pm-{name}"></div>',
        css_template="",
        js_on_load=f"import('{PAGE}').then((page) => page.{call})",
        apply_default_css=False,
        elem_id=f"pm-{name}",
    )
