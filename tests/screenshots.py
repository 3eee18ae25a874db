"""make screenshots: the pages as docs/screenshots/*.webp, in both languages, schemes and sizes.

Takes them from a real installation with the example photos, so they show what is there. Look at
each before you commit it.
"""

import io
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parent / "browser"))
from actions import drawn, pick
from stack import REPOSITORY, Stack

from storage import users
from storage.redis.calls import SyncRedis

FOLDER = REPOSITORY / "docs" / "screenshots"
EXAMPLES = REPOSITORY / "examples"
PHOTOS = [EXAMPLES / f"{name}.jpg" for name in ("chelsea", "coffee", "rocket", "astronaut")]
ADMIN, PASSWORD = "ada", "a password of the screenshots"
QUALITY = 68
LOOKS: Mapping[str, dict[str, Any]] = {
    "en-light-desktop": {"color_scheme": "light", "viewport": {"width": 1280, "height": 860}},
    "zh-dark-desktop": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 860}},
    "en-dark-phone": {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
    "zh-light-phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}
"""Each language, scheme and size twice."""
PAGE_PICTURE = ("en-light-desktop", "result")
"""The one that README.md and docs/use.md show, as docs/page.webp."""


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    env = {"PIXELMILL_MODELS": "matting,facemask,classify"}
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), env) as stack:
        stack.start_all()
        SyncRedis(stack.state).do(users.set_password(ADMIN, PASSWORD, "admin"))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            for look, options in LOOKS.items():
                with _new_page(browser, look, options) as page:
                    _all(page, stack.url, look)
            browser.close()
    pictures = list(FOLDER.glob("*.webp"))
    print(f"{len(pictures)} pictures, {sum(file.stat().st_size for file in pictures) // 1024} KiB")


def _all(page: Page, url: str, look: str) -> None:
    """Every page in this look. They are visited in this order, as each needs the ones before."""
    steps: Mapping[str, Callable[[Page, str], None]] = {
        "sign-in": _sign_in,
        "start": _start,
        "batch": _batch,
        "result": _result,
        "history": _history,
        "account": lambda page, url: _open(page, f"{url}/account"),
        "system": lambda page, url: _open(page, f"{url}/system"),
        "docs": _docs,
    }
    language = look.split("-")[0]
    for name, visit in steps.items():
        visit(page, url)
        page.wait_for_timeout(500)  # pictures and fonts
        _save(page.screenshot(), f"{look}-{name}")
        if name == "sign-in":
            _enter(page, url, language)


def _sign_in(page: Page, url: str) -> None:
    _open(page, f"{url}/login")


def _enter(page: Page, url: str, language: str) -> None:
    page.fill("input[name=user]", ADMIN)
    page.fill("input[name=password]", PASSWORD)
    page.locator("form button").first.click()
    page.wait_for_url("**/ui/**")
    _open(page, f"{url}/ui/?lang={language}")


def _start(page: Page, url: str) -> None:
    page.wait_for_selector(".pm-chooser :checked")
    page.wait_for_timeout(1500)  # the samples' pictures


def _batch(page: Page, url: str) -> None:
    pick(page, *PHOTOS)
    expect(page.locator(".strip [data-phase=done]")).not_to_have_count(0, timeout=120_000)
    page.locator(".strip").evaluate("(strip) => strip.scrollIntoView({ block: 'end' })")


def _result(page: Page, url: str) -> None:
    expect(page.locator(".strip [data-phase=done]")).to_have_count(len(PHOTOS), timeout=120_000)
    page.locator(".strip .pick").last.click()
    drawn(page)
    page.locator("details.finish").first.evaluate("(details) => (details.open = true)")
    page.locator(".viewer").scroll_into_view_if_needed()


def _history(page: Page, url: str) -> None:
    page.locator("[data-view=history]").click()
    page.wait_for_timeout(1500)


def _docs(page: Page, url: str) -> None:
    _open(page, f"{url}/docs")
    page.wait_for_selector(".opblock")


def _open(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_load_state("load")


def _save(png: bytes, name: str) -> None:
    with Image.open(io.BytesIO(png)) as picture:
        small = picture.convert("RGB")
    small.save(FOLDER / f"{name}.webp", quality=QUALITY, method=6)
    if name == "-".join(PAGE_PICTURE):
        small.save(REPOSITORY / "docs" / "page.webp", quality=80, method=6)


@contextmanager
def _new_page(browser: Browser, look: str, options: dict[str, Any]) -> Iterator[Page]:
    """A browser of somebody who speaks that language."""
    locale = {"en": "en-GB", "zh": "zh-CN"}[look.split("-")[0]]
    context = browser.new_context(**options, locale=locale, reduced_motion="reduce")
    context.set_default_timeout(120_000)
    yield context.new_page()
    context.close()


if __name__ == "__main__":
    main()
