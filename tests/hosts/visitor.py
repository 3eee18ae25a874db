"""A person at a browser outside of all hosts, who sends photos by https while web processes die."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

PATIENCE_MS = 120_000
DRAWN = "old => ![undefined, old].includes(document.querySelector('.viewer').dataset.drawn)"
"""Whether another cut-out is shown than the old one."""
PHOTO = Path(__file__).parents[2] / "examples" / "chelsea.jpg"


def send_photos(url: str, strikes: list[Callable[[], None]], folder: Path) -> dict[str, Any]:
    """One photo for each strike, which hits while it is under way; what the person saw."""
    seconds: list[float] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_context(ignore_https_errors=True, locale="en-GB").new_page()
        page.set_default_timeout(PATIENCE_MS)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector(".pm-chooser :checked")
        for number, strike in enumerate(strikes):
            seconds.append(_send(page, number, strike))
        page.screenshot(path=str(folder / "visitor.png"))
        protocol = page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol")
        browser.close()
    return {"seconds": seconds, "errors": errors, "protocol": protocol}


def _send(page: Page, number: int, strike: Callable[[], None]) -> float:
    """Seconds from the choice of a photo to its cut-out."""
    began, before = time.monotonic(), page.get_attribute(".viewer", "data-drawn")
    data = PHOTO.read_bytes() + bytes([number])  # bytes after the picture's end: another photo
    page.set_input_files(
        ".drop input",
        [{"name": f"photo-{number}.jpg", "mimeType": "image/jpeg", "buffer": data}],
    )
    striking = threading.Thread(target=strike)
    striking.start()
    page.wait_for_function(DRAWN, arg=before)
    striking.join()
    return round(time.monotonic() - began, 1)
