"""The line below the page: how long photos are kept, and one's data to take along or to erase."""

import zipfile
from pathlib import Path
from typing import Any

from actions import pick
from playwright.sync_api import Page, expect

from storage import keys

ASTRONAUT = Path(__file__).parent.parent.parent / "examples" / "astronaut.jpg"


def done(page: Page) -> None:
    pick(page, ASTRONAUT)
    expect(page.locator(".bench")).to_have_attribute("data-phase", "done")


def test_the_page_says_how_long_photos_and_results_are_kept(page: Page) -> None:
    line = page.locator(".pm-privacy")

    expect(line).to_contain_text("removed after 24 hours, results after 7 days")


def test_ones_data_are_one_click_away(page: Page, tmp_path: Path) -> None:
    done(page)

    with page.expect_download() as download:
        page.get_by_role("link", name="Download my data").click()
    download.value.save_as(tmp_path / "data.zip")

    with zipfile.ZipFile(tmp_path / "data.zip") as archive:
        assert archive.testzip() is None and "jobs.json" in archive.namelist()


def test_whoever_deletes_their_data_starts_anew(page: Page, stack: Any) -> None:
    done(page)
    before = page.evaluate("fetch('/api/v1/jobs').then((answer) => answer.json())")
    page.on("dialog", lambda dialog: dialog.accept())

    with page.expect_navigation():
        page.get_by_role("button", name="Delete my data").click()

    page.wait_for_selector(".pm-chooser :checked")
    after = page.evaluate("fetch('/api/v1/jobs').then((answer) => answer.json())")
    assert len(before["jobs"]) == 1 and after["jobs"] == []
    assert not stack.state.exists(keys.job(before["jobs"][0]["id"]))
