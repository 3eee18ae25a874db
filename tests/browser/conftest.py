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
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE 127.0.0.2",
]


PATIENCE_MS = 30_000  # for a machine that does much else

expect.set_options(timeout=PATIENCE_MS)


# Module scope: while Playwright runs, this thread's event loop is taken.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, to which nothing but this machine exists."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture
def looks() -> dict[str, Any]:
    """Width, colours and the like; a test module or test may override it."""
    return {"viewport": {"width": 1280, "height": 900}}


@pytest.fixture
def page(browser: Browser, stack: Any, looks: dict[str, Any]) -> Iterator[Page]:
    """The page, open and with its models listed; `page.traffic` has what it sends."""
    context = browser.new_context(**looks, locale="en-GB", reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.traffic = Traffic()  # type: ignore[attr-defined]  # rides along for the tests
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda message: wrong.extend(_refused(message.text)))
    page.on("request", page.traffic.note)  # type: ignore[attr-defined]
    page.on("request", lambda request: wrong.extend(_outside(request.url, stack.url)))
    page.goto(f"{stack.url}/")
    page.wait_for_selector(".pm-chooser :checked")
    yield page
    context.close()
    assert not wrong


def _refused(text: str) -> list[str]:
    """What the browser says when the page breaks the policy that the server sent with it."""
    return [text] if "Content Security Policy" in text else []


def _outside(url: str, home: str) -> list[str]:
    ours = url.startswith((home, "data:", "blob:", "http://127.0.0.1:"))
    return [] if ours else [f"outside: {url}"]
