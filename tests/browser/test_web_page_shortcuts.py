"""Shortcuts, the browser's tab, and the two colour schemes."""

from actions import drawn, pick
from playwright.sync_api import Page, expect
from stack import REPOSITORY

ASTRONAUT = REPOSITORY / "examples" / "astronaut.jpg"
COFFEE = REPOSITORY / "examples" / "coffee.jpg"


def test_shortcuts_work_wherever_the_focus_is_but_where_somebody_types(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    pick(page, ASTRONAUT)
    drawn(page)

    page.get_by_role("checkbox", name="Send originals").focus()
    with page.expect_download():
        page.keyboard.press("d")
    page.keyboard.press("+")
    expect(page.locator("[data-act=fit]")).to_have_text("150 %")
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('input'), {id: 'field'}))"
    )
    page.locator("#field").press("?")

    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.locator("#field").input_value() == "?"


def test_form_controls_and_scroll_bars_have_the_scheme_of_the_switch(page: Page) -> None:
    scheme = "getComputedStyle(document.documentElement).colorScheme"
    assert page.evaluate(scheme) == "light"

    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.evaluate(scheme) == "dark"
    page.emulate_media(color_scheme="dark")
    page.get_by_role("button", name="Switch between light and dark").click()

    assert page.evaluate(scheme) == "light", "though the system is dark"


def test_the_tab_says_how_far_photos_are_and_a_long_batch_asks_once_whether_to_notify(
    page: Page,
) -> None:
    page.clock.install()
    page.evaluate(
        """() => {
            window.titles = [];
            const icon = document.querySelector("link[rel=icon]");
            const note = () => window.titles.push([document.title, icon.href.slice(0, 5)]);
            const all = { subtree: true, childList: true, attributes: true };
            new MutationObserver(note).observe(document.head, all);
        }"""
    )
    page.route("**/api/v1/jobs", lambda route: route.abort())  # so that they wait
    pick(page, ASTRONAUT, COFFEE)
    page.wait_for_function("document.title === '0 of 2 · Pixelmill'")

    page.clock.fast_forward(31_000)
    page.get_by_role("button", name="No, thanks").click()
    page.unroute("**/api/v1/jobs")
    for tile in range(2):
        expect(page.locator(".strip li").nth(tile)).to_have_attribute("data-phase", "done")

    page.wait_for_function("document.title === 'Pixelmill'")
    assert any(icon == "data:" for _, icon in page.evaluate("window.titles")), "a ring"
    assert page.evaluate("localStorage.getItem('pixelmill.notify')") == "no"
    assert page.locator(".ask").count() == 0
