"""What a person does on the page."""

from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page


def pick(page: Page, *files: Any) -> None:
    """Choose files: paths, or mappings of name, mimeType and buffer."""
    page.set_input_files(".drop input", list(files))


def drawn(page: Page) -> None:
    """Wait until the current photo's result is shown."""
    page.wait_for_selector(".viewer[data-drawn]")


def downloaded(page: Page, button: str, folder: Path) -> Image.Image:
    """The picture that a press of `button` downloads; `folder` is for its file."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name=button, exact=True).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    with Image.open(path) as picture:
        return picture.copy()
