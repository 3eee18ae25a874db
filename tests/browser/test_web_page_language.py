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


def test_what_the_server_says_is_in_the_language_of_the_page(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}/ui/?lang=zh")
    page.wait_for_selector(".pm-chooser :checked")
    expect(page.get_by_text("背景移除")).to_be_visible()
    expect(page.get_by_label("锐利边缘")).to_be_checked()

    pick(page, {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"This is no photo. " * 9})

    expect(page.locator(".bench .error")).to_contain_text("这个文件不是可以读取的照片。")
    page.goto(f"{stack.url}/login")
    expect(page.get_by_role("button", name="登录")).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "zh-Hans"


def test_the_switch_leaves_the_history_open(page: Page) -> None:
    page.get_by_role("button", name="History").click()
    page.get_by_role("link", name="中文").click()

    expect(page.get_by_role("button", name="历史记录")).to_have_attribute("aria-current", "true")
