"""The page: a Gradio Blocks of a few mount points at /ui. Image bytes never pass through it."""

from collections.abc import Callable
from pathlib import Path

import gradio as gr
from fastapi import FastAPI, Request

from tasks.settings import settings
from web.page import components, gradio_template, handlers
from web.page.html import rooted

PATH = "/ui"
STATIC = Path(__file__).parents[1] / "static"
STYLES = ("page", "options", "workbench", "strip", "viewer", "tools", "progress", "dialogs")
"""The style sheets, in the order in which they apply."""
GRADIO_POLL_S = 0.25
"""How often Gradio's queue, which this page does not use, looks for events."""


def mount(
    app: FastAPI,
    models: handlers.Models,
    user_of: Callable[[Request], str | None],
) -> FastAPI:
    """Mount the page at /ui. It answers 401 if `user_of` returns None, except in open mode."""
    gradio_template.prepare()
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        page(models),
        path=PATH,
        root_path=f"{settings().sub_path}{PATH}" if settings().sub_path else None,
        auth_dependency=None if settings().auth == "open" else user_of,
        theme=_theme(),
        head=_head(),
        show_error=True,
        max_file_size="1kb",  # photos are uploaded to S3, never to Gradio
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
    )
    return mounted


def page(models: handlers.Models) -> gr.Blocks:
    """The mount points, and the page's one event: choosing another model draws its form."""
    blocks: gr.Blocks = gr.Blocks(
        title="Pixelmill", analytics_enabled=False, fill_width=True, delete_cache=(3600, 3600)
    )
    with blocks:
        components.header()
        with gr.Row(elem_id="pm-main"):
            with gr.Column(elem_id="pm-models", min_width=0):
                chooser = components.chooser()
            with gr.Column(elem_id="pm-options", min_width=0):
                gr.render(
                    inputs=chooser, triggers=[chooser.change], queue=False, show_progress="hidden"
                )(handlers.form(models))
                components.run_bar()
            with gr.Column(elem_id="pm-work", min_width=0):
                components.workbench()
        components.history()
        components.privacy()
    blocks.queue(default_concurrency_limit=16, max_size=500, api_open=False)
    # By default Gradio polls its queue 1,000 times a second and its progress 100 times, which takes
    # 2 % of a core. The queue serves events with queue=True, of which this page has none.
    blocks._queue.sleep_when_free = GRADIO_POLL_S
    blocks._queue.progress_update_sleep_when_free = GRADIO_POLL_S
    blocks.state_session_capacity = 500
    return blocks


def _head() -> str:
    """Styles and scripts. What it loads first is preloaded: a browser finds imports one by one."""
    styles = [f'<link rel="stylesheet" href="/static/{name}.css">' for name in STYLES]
    scripts = [f'<link rel="modulepreload" href="/static/{f.name}">' for f in STATIC.glob("*.js")]
    head = "\n".join(
        [
            '<meta name="color-scheme" content="light dark">',
            *styles,
            *sorted(scripts),
        ]
    )
    return rooted(head)


def _theme() -> gr.themes.Base:
    """System fonts, so that none are loaded; the colours are set in page.css."""
    return gr.themes.Default(
        primary_hue="teal",
        neutral_hue="stone",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
