"""A browser on the real stack: every page is a new person's, and fails its test on any error."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from traffic import Traffic

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE 127.0.0.2",
]


PATIENCE_MS = 90_000  # for a busy machine: at a load of 25 the page took more than 30 s

expect.set_options(timeout=PATIENCE_MS)


# Module scope: while Playwright runs, this thread's event loop is taken.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, which can reach nothing but this machine."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture
def looks() -> dict[str, Any]:
    """Options of the browser context, such as its size; a test may override them."""
    return {"viewport": {"width": 1280, "height": 900}}


@pytest.fixture
def page(browser: Browser, stack: Any, looks: dict[str, Any]) -> Iterator[Page]:
    """The page, open and with its models listed; `page.traffic` records its requests."""
    context = browser.new_context(**{"locale": "en-GB", "reduced_motion": "reduce", **looks})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.traffic = Traffic()  # type: ignore[attr-defined]  # read by the tests
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(f"error: {error}"))
    page.on("console", lambda message: errors.extend(_refused(message.text)))
    page.on("request", page.traffic.note)  # type: ignore[attr-defined]
    page.on("request", lambda request: errors.extend(_outside(request.url, stack.url)))
    page.goto(f"{stack.url}/")
    page.wait_for_selector(".pm-chooser :checked")
    yield page
    context.close()
    assert not errors


def _refused(text: str) -> list[str]:
    """Console messages of the browser about violations of the content security policy."""
    return [text] if "Content Security Policy" in text else []


def _outside(url: str, home: str) -> list[str]:
    ours = url.startswith((home, "data:", "blob:", "http://127.0.0.1:"))
    return [] if ours else [f"outside: {url}"]
