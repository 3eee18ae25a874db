"""Mount points: empty gr.HTML blocks that our own JavaScript (web/static) fills."""

import gradio as gr

from tasks.settings import settings
from web.jobs.retention import kept_sentence, kept_volumes_sentence

_ERASE = """
import("ROOT/static/words.js").then(({ translated }) => translated(element));
const [button, status] = element.querySelectorAll("button, [role=status]");
const erase = () => import("ROOT/static/data/erase.js");
button.onclick = () => erase().then((page) => page.erase(button, status));
"""


def header() -> gr.HTML:
    """The name of the product, and the switch between light and dark."""
    return _mount_point("header", "mountHeader(element)")


def chooser() -> gr.HTML:
    """The choice of the model, from `GET /api/v1/models`; its value is the name of the model."""
    return _mount_point("chooser", "mountChooser(element, props)")


def run_bar() -> gr.HTML:
    """`Run again`, shown after a change, and the switch `Send originals`."""
    return _mount_point("runbar", "mountRunBar(element)")


def workbench() -> gr.HTML:
    """The drop zone, the photos, their progress and results."""
    sizes = f"{settings().max_upload_mib:g}, {settings().max_volume_mib:g}"
    return _mount_point("workbench", f"mountWorkbench(element, {sizes})")


def history() -> gr.HTML:
    """What the server keeps; filled when somebody first opens it."""
    return _mount_point("history", "mountHistory(element)")


def privacy() -> gr.HTML:
    """How long photos and results are kept, and what one can do about one's data."""
    root = settings().sub_path
    photos = f'<span data-for="image">{kept_sentence()}</span>'
    volumes = f'<span data-for="volume">{kept_volumes_sentence()}</span>'
    return gr.HTML(
        value="",
        html_template=f'<p class="pm-privacy">{photos}{volumes} '
        f'<a href="{root}/api/v1/me/export" download>Download my data</a> '
        '<button type="button">Delete my data</button> <span role="status"></span></p>',
        css_template="",
        js_on_load=_ERASE.replace("ROOT", root),
        apply_default_css=False,
        elem_id="pm-privacy",
    )


def _mount_point(name: str, call: str) -> gr.HTML:
    """An HTML component that Gradio never draws again, so that listeners in it stay; `call` is a
    `mount...` function of static/page.js."""
    page = f"{settings().sub_path}/static/page.js"
    return gr.HTML(
        value="",
        html_template=f'<div class="pm-{name}"></div>',
        css_template="",
        js_on_load=f"import('{page}').then((page) => page.{call})",
        apply_default_css=False,
        elem_id=f"pm-{name}",
    )
