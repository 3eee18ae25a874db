"""The system page in a browser: for everybody, on any screen, refreshing itself."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect
from test_web_page_access import violations


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("looks", [{"viewport": {"width": 390, "height": 844}}])
def test_axe_finds_nothing_and_nothing_sticks_out_on_the_system_page(
    page: Page, stack: Any, scheme: Any
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{stack.url}/system")
    expect(page.get_by_text("gpu worker")).to_be_visible()

    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    # The policy of the page lets no script in but its own.
    page.context.new_cdp_session(page).send("Page.setBypassCSP", {"enabled": True})
    page.reload()
    assert violations(page) == []


def test_the_system_page_refreshes_itself_and_says_when_it_cannot(page: Page, stack: Any) -> None:
    page.goto(f"{stack.url}/system")
    page.evaluate("document.querySelector('.tiles b').textContent = 'old'")
    expect(page.locator(".tiles b").first).not_to_have_text("old")

    page.route("**/system", lambda route: route.abort())

    expect(page.get_by_role("status")).to_have_text(
        "The server does not answer; these figures are old."
    )
