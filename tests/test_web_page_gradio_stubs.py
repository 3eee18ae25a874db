"""Gradio is imported without the type stubs that it would write into its package each time."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from web.page import gradio_stubs

IMPORTS = """
import web.page.ui, gradio, gradio.component_meta as module
print(module.create_or_modify_pyi.__module__, module.__name__, gradio.Textbox.__name__)
"""


def test_the_page_imports_gradio_without_writing_stubs() -> None:
    command = [sys.executable, "-c", IMPORTS]

    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert said == ["web.page.gradio_stubs", "gradio.component_meta", "Textbox"]


def test_gradio_still_has_the_function_that_is_left_out() -> None:
    package = find_spec("gradio")
    assert package and package.submodule_search_locations
    source = Path(package.submodule_search_locations[0], "component_meta.py").read_text()

    assert f"def {gradio_stubs.FUNCTION}(" in source
    assert source.count(f"{gradio_stubs.FUNCTION}(") == 2, "it is defined, and called once"
