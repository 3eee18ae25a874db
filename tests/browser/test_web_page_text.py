"""Text of users is shown as text."""

import re

from actions import as_file, bottle, drawn, pick
from playwright.sync_api import Page, expect


def test_the_name_of_a_file_is_shown_as_text_and_runs_nothing(page: Page) -> None:
    name = "<img src=x onerror=window.ran=1>.png"
    page.on("dialog", lambda dialog: dialog.accept())

    pick(page, {**as_file(bottle(), "PNG"), "name": name})
    drawn(page)
    pick(page, {"name": f"b{name}", "mimeType": "image/png", "buffer": b"no picture"})
    expect(page.locator(".strip [data-phase=failed]")).to_have_count(1)

    assert page.evaluate("window.ran") is None
    assert page.locator("img[src=x]").count() == 0
    assert (
        page.get_by_text(re.compile("onerror=window")).count()
        or page.locator(
            "[title*='onerror=window'], [aria-label*='onerror=window'], [alt*='onerror=window']"
        ).count()
    )
