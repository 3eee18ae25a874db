"""What a person does on the page."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page

TYPES = {
    "AVIF": "image/avif",
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
}
SIDE = 320


def as_file(picture: Image.Image, kind: str, **options: Any) -> dict[str, Any]:
    """The picture as a file to pick."""
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return {"name": f"a.{kind.lower()}", "mimeType": TYPES[kind], "buffer": data.getvalue()}


def bottle() -> Image.Image:
    """A red bottle on a light wall, higher than wide, with a blue foot that shows what is up."""
    picture = Image.new("RGB", (240, SIDE), (235, 232, 226))
    picture.paste((200, 30, 30), (80, 60, 160, 300))
    picture.paste((30, 40, 160), (80, 240, 160, 300))
    return picture


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


@contextmanager
def tasks_ms(page: Page) -> Iterator[list[float]]:
    """Fills the list with the CPU time of each task of the page's main thread, when it ends.

    By the CPU's clock, as other programs make each task longer by that of the wall.
    """
    browser = page.context.browser
    assert browser
    browser.start_tracing(page=page, categories=["toplevel"])
    tasks: list[float] = []
    yield tasks
    events = json.loads(browser.stop_tracing())["traceEvents"]
    named = [event for event in events if event["name"] == "thread_name"]
    main = [event for event in named if event["args"]["name"] == "CrRendererMain"]
    threads = {(event["pid"], event["tid"]) for event in main}
    timed = [event for event in events if "tdur" in event]
    tasks += [event["tdur"] / 1000 for event in timed if (event["pid"], event["tid"]) in threads]
