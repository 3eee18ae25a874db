"""What programs can call, as Gradio describes it: the configuration and the list of endpoints.

The description is that of a Blocks of its own, which is never served, so that its formats are those
of the installed Gradio, and the page carries none of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import gradio as gr

from tasks.settings import MIB, settings
from web.page.programs.calls import DEFAULT_MODEL


@dataclass(frozen=True)
class Description:
    """What the client reads before its first call."""

    config: Mapping[str, Any]
    info: Mapping[str, Any]
    """`/gradio_api/info`."""

    def config_at(self, root: str, prefix: str) -> dict[str, Any]:
        """The configuration for a client whose base address is `root`."""
        return {**self.config, "root": root, "api_prefix": prefix}


def run(image: Any, model: Any, params: Any, output: Any) -> None:
    """Run a model on a photo. Returns the picture that the model makes (nothing for a model that
    makes none) and the job with its data as JSON."""


@cache
def describe() -> Description:
    """The description of `/run`, made once."""
    blocks: gr.Blocks = gr.Blocks(title="Pixelmill", analytics_enabled=False)
    with blocks:
        inputs = [
            gr.File(label="Photo: a file, or an https address where the server fetches such"),
            gr.Textbox(DEFAULT_MODEL, label="Model: a name that GET /api/v1/models lists"),
            gr.JSON({}, label="Parameters of the model"),
            gr.Textbox("", label="Names of pictures to make, separated by commas; empty: cutout"),
        ]
        outputs = [gr.File(label="Picture"), gr.JSON(label="Job")]
        gr.Button().click(run, inputs, outputs, api_name="run", api_visibility="public")
    config = {
        **blocks.get_config_file(),
        "max_file_size": int(settings().max_upload_mib * MIB),
        "show_error": True,
    }
    return Description(config, blocks.get_api_info())
