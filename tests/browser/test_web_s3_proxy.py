"""A real browser on our page and on other pages: what those can reach, and what ours may run."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"
"""The page's host, and another: for a browser two addresses are two sites."""

ATTACK = """<!doctype html><title>Another page</title><form id="form" method="post" target="answer"
enctype="text/plain" action="{url}{path}"><input name="a" value="b"></form>
<iframe name="answer"></iframe><iframe id="frame" src="{url}/ui/"></iframe>"""


class Other(BaseHTTPRequestHandler):
    """A web server with a page of another site."""

    def do_GET(self) -> None:
        """Always the same empty page; tests add to it what they need."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Another page</title>")

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


@pytest.fixture(params=[HERE, ELSEWHERE], ids=["another port", "another site"])
def other(request: pytest.FixtureRequest) -> Iterator[str]:
    """The origin of a page on another port of this host, or on another host."""
    server = ThreadingHTTPServer((request.param, 0), Other)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{request.param}:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def visitor(browser: Browser, stack: Any) -> Iterator[BrowserContext]:
    """A browser with an identity of ours."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{stack.url}/ui/")
    page.wait_for_selector(".pm-chooser :checked")
    page.close()
    yield context
    context.close()


def cookies(context: BrowserContext) -> dict[str, str]:
    return {cookie["name"]: cookie["value"] for cookie in context.cookies()}


@pytest.mark.parametrize("path", ["/api/v1/predict/toy", "/api/v1/uploads", "/login", "/logout"])
def test_another_pages_form_changes_nothing(
    visitor: BrowserContext, stack: Any, other: str, path: str
) -> None:
    before = cookies(visitor)
    page = visitor.new_page()
    page.goto(other)
    page.set_content(ATTACK.format(url=stack.url, path=path))

    with page.expect_response(lambda response: response.request.method == "POST") as waiting:
        page.evaluate("document.getElementById('form').submit()")

    assert waiting.value.status == 403
    assert before and cookies(visitor) == before


def test_another_page_navigates_but_changes_no_identity(
    visitor: BrowserContext, stack: Any, other: str
) -> None:
    before = cookies(visitor)
    page = visitor.new_page()

    for path in ("/logout", "/api/v1/models", "/api/v1/events"):
        page.goto(other)
        page.evaluate("(url) => { new Image().src = url; }", f"{stack.url}{path}")
        page.wait_for_timeout(100)
        page.evaluate(
            "(url) => fetch(url, {mode: 'no-cors', credentials: 'include'}).catch(() => 0)"
            if path != "/api/v1/events"
            else "() => 0",
            f"{stack.url}{path}",
        )
    page.goto(f"{stack.url}/logout")

    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    assert cookies(visitor) == before


def test_another_page_reads_nothing(visitor: BrowserContext, stack: Any, other: str) -> None:
    page = visitor.new_page()
    page.goto(other)

    for path in ("/api/v1/models", "/ui/", "/openapi.json"):
        read = page.evaluate(
            "(url) => fetch(url, {credentials: 'include'}).then((a) => a.text()).catch(() => null)",
            f"{stack.url}{path}",
        )
        assert read is None, path


def test_another_page_cannot_frame_the_page(
    visitor: BrowserContext, stack: Any, other: str
) -> None:
    page = visitor.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.goto(other)
    page.set_content(ATTACK.format(url=stack.url, path="/"))
    page.wait_for_timeout(1000)

    assert any("frame" in text.lower() and "ancestors" in text for text in messages), messages


def test_signing_out_works_in_a_browser(visitor: BrowserContext, stack: Any) -> None:
    page = visitor.new_page()
    page.goto(f"{stack.url}/logout")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login")

    assert cookies(visitor) == {}


def test_the_description_of_the_api_draws_itself_and_tries_calls(page: Page, stack: Any) -> None:
    page.goto(f"{stack.url}/docs")
    call = page.locator("#operations-pixelmill-list_models_api_v1_models_get")
    call.get_by_role("button").first.click()
    call.get_by_role("button", name="Execute").click()

    expect(call.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
