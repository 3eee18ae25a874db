"""The page in the language that a person reads."""

from actions import drawn, pick
from playwright.sync_api import Page, expect
from stack import REPOSITORY, Stack

ASTRONAUT = REPOSITORY / "examples" / "astronaut.jpg"


def test_an_english_page_loads_no_other_language(page: Page) -> None:
    urls = [request.url for request in page.traffic.requests]  # type: ignore[attr-defined]

    assert not [url for url in urls if "/languages/" in url]
    assert page.evaluate("document.documentElement.lang") == "en"


def test_the_switch_puts_the_page_into_chinese_keeps_photos_and_is_remembered(
    page: Page, stack: Stack
) -> None:
    pick(page, ASTRONAUT)
    drawn(page)

    page.get_by_role("link", name="中文").click()
    drawn(page)

    expect(page.get_by_role("button", name="下载 PNG")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "zh-Hans"
    page.goto(f"{stack.url}/ui/")
    expect(page.get_by_role("link", name="English")).to_be_visible()
