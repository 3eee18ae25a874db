"""The history on the page: what the server keeps, found again, shown, run again, and deleted."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from actions import drawn, pick
from playwright.sync_api import Page, Route, expect
from stack import Stack
from test_web_page_access import violations

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
THREE = [EXAMPLES / f"{name}.jpg" for name in ("astronaut", "chelsea", "coffee")]


def done(page: Page, *files: Path) -> None:
    """Take photos to their results."""
    pick(page, *files)
    expect(page.locator(".strip [data-phase=done]")).to_have_count(len(files))


def history(page: Page) -> Any:
    """Open the history; its tiles."""
    page.get_by_role("button", name="History").click()
    return page.locator(".pm-history li")


def kept(page: Page, stack: Stack) -> list[dict[str, Any]]:
    """The jobs that the server has of this person, newest first."""
    return list(page.request.get(f"{stack.url}/api/v1/jobs").json()["jobs"])


def until_kept(page: Page, stack: Stack, names: set[str]) -> None:
    """Wait until the server has photos of these names and no others."""
    for _ in range(100):
        if {job["name"] for job in kept(page, stack)} == names:
            return
        page.wait_for_timeout(300)
    raise AssertionError(kept(page, stack))


def test_what_was_sent_is_found_again_in_another_tab_shown_and_run_beside_its_result(page: Page):
    done(page, *THREE)
    other = page.context.new_page()
    other.goto(page.url.partition("#")[0])
    other.wait_for_selector(".pm-chooser :checked")

    tiles = history(other)
    expect(tiles).to_have_count(3)
    expect(tiles.first).to_contain_text("Background removal")
    expect(tiles.first).to_contain_text("gone in")
    assert violations(other) == []
    other.get_by_label("Search by name").fill("CHEL")
    expect(tiles).to_have_count(1)
    tiles.first.press("Enter")
    drawn(other)
    expect(other.locator("h2")).to_have_text("chelsea.jpg")

    other.get_by_label("Toy brightener").check()
    other.get_by_role("button", name="Run again").click()
    expect(other.locator(".strip [data-phase=done]")).to_have_count(2)
    names = [pick.get_attribute("title") for pick in other.locator(".strip .pick").all()]
    assert names == ["Background removal · chelsea.jpg", "Toy brightener · chelsea.jpg"]
    expect(other.get_by_role("button", name="Run again")).to_be_hidden()


def test_deleting_many_can_be_undone_and_is_done_by_a_page_that_is_closed(page: Page, stack: Stack):
    done(page, *THREE)
    tiles = history(page)
    expect(tiles).to_have_count(3)

    tiles.first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(".chosen b")).to_have_text("2 selected")
    page.keyboard.press("Delete")
    expect(tiles).to_have_count(1)
    page.get_by_role("button", name="Undo").click()
    expect(tiles).to_have_count(3)
    assert len(kept(page, stack)) == 3

    page.get_by_label("Search by name").fill("coffee")
    expect(tiles).to_have_count(1)
    tiles.first.press("Delete")
    expect(page.locator(".pm-toast")).to_contain_text("Deleted.")
    page.goto("about:blank")
    until_kept(page, stack, {"astronaut.jpg", "chelsea.jpg"})


def test_a_removed_photo_is_deleted_on_the_server_unless_that_is_undone(page: Page, stack: Stack):
    done(page, *THREE[:2])
    remove = page.get_by_role("button", name="Remove astronaut.jpg")

    remove.click()
    expect(page.locator(".pm-toast")).to_contain_text("Deleted.")
    page.keyboard.press("Control+z")
    expect(page.locator(".strip li")).to_have_count(2)
    expect(page.locator("h2")).to_have_text("astronaut.jpg")
    remove.click()

    until_kept(page, stack, {"chelsea.jpg"})


def test_what_could_not_be_deleted_comes_back_with_a_sentence(page: Page):
    done(page, THREE[0])

    def refuse(route: Route) -> None:
        error = {"code": "forbidden", "message": "not today", "hint": "Ask again tomorrow."}
        if route.request.method == "DELETE":
            route.fulfill(status=403, body=json.dumps({"error": error}))
        else:
            route.continue_()

    page.route("**/api/v1/jobs/*", refuse)
    page.get_by_role("button", name="Remove astronaut.jpg").click()

    expect(page.locator(".pm-toast")).to_contain_text("Not today. Ask again tomorrow.")
    expect(page.locator(".strip li")).to_have_count(1)


def test_a_photo_that_was_deleted_elsewhere_is_said_to_be_gone(page: Page, stack: Stack):
    done(page, THREE[0])
    tiles = history(page)
    expect(tiles).to_have_count(1)
    [job] = kept(page, stack)
    assert page.request.delete(f"{stack.url}/api/v1/jobs/{job['id']}").ok

    tiles.first.click()

    expect(page.get_by_text("This photo was deleted meanwhile.")).to_be_visible()
    expect(tiles).to_have_count(0)


def test_files_of_several_photos_leave_the_history_as_one_archive(
    page: Page, stack: Stack, tmp_path: Path
):
    done(page, *THREE[:2])
    tiles = history(page)
    expect(tiles).to_have_count(2)
    tiles.first.focus()
    page.keyboard.press("Control+a")

    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download as zip").click()

    waiting.value.save_as(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as files:
        assert sorted(files.namelist()) == ["astronaut-cutout.png", "chelsea-cutout.png"]
    until_kept(page, stack, {"chelsea.jpg", "astronaut.jpg"})
    assert len(kept(page, stack)) == 2, "what was made for the archive alone is gone"


@pytest.mark.parametrize("looks", [{"viewport": {"width": 390, "height": 844}}])
def test_a_long_history_goes_on_while_it_is_scrolled_on_a_telephone(page: Page):
    job = {"state": "done", "model": "matting", "result": None, "expires": None}

    def answer(route: Route) -> None:
        start = int(route.request.url.partition("cursor=")[2] or 0)
        listed = [
            {**job, "id": f"{n:032x}", "name": f"{n}.jpg", "created": f"{9999 - n}-01-01T10:00:00Z"}
            for n in range(start, start + 48)
        ]
        body = {"jobs": listed, "next": str(start + 48) if start < 96 else None}
        route.fulfill(body=json.dumps(body))

    page.route("**/api/v1/jobs?*", answer)
    page.emulate_media(color_scheme="dark")
    tiles = history(page)
    expect(tiles).to_have_count(48)
    tiles.nth(40).scroll_into_view_if_needed()
    expect(tiles).to_have_count(96)
    tiles.nth(90).scroll_into_view_if_needed()
    expect(tiles).to_have_count(144)

    assert [tile.get_attribute("title") for tile in tiles.all()] == [f"{n}.jpg" for n in range(144)]
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_late_answer_of_an_earlier_search_does_not_end_the_list_of_the_present_one(page: Page):
    went_on = page.evaluate("""async () => {
        const { Pages } = await import("/static/history/pages.js");
        const answers = {};
        window.fetch = (address) => new Promise((resolve) => {
            const name = new URL(address, location).searchParams.get("name");
            answers[name] = (next) => resolve(new Response(JSON.stringify({ jobs: [], next })));
        });
        let name = "earlier";
        const pages = new Pages(() => new URLSearchParams({ name }));
        const earlier = pages.first();
        name = "present";
        pages.restart();
        const present = pages.first();
        answers.earlier(null);
        await earlier;
        answers.present("a cursor");
        await present;
        return pages.next;
    }""")

    assert went_on == "a cursor"


def test_what_could_not_be_deleted_and_is_back_is_deleted_by_no_later_page(page: Page):
    def refuse(route: Route) -> None:
        body = json.dumps({"error": {"code": "forbidden", "message": "not today"}})
        route.fulfill(status=403, body=body)

    page.route("**/api/v1/jobs/*", refuse)
    page.evaluate("""async () => {
        const { deleteLater } = await import("/static/history/deletions.js");
        deleteLater([..."abcdefgh"], { undo: () => (document.title = "back") });
    }""")

    expect(page.locator(".pm-toast")).to_contain_text("Not today.", timeout=60_000)
    assert page.title() == "back"
    assert page.evaluate("localStorage.getItem('pixelmill.deletions')") is None


def test_a_photo_that_is_dropped_on_the_history_is_shown(page: Page):
    page.get_by_role("button", name="History").click()
    expect(page.locator(".pm-workbench")).to_be_hidden()

    page.evaluate(
        """async () => {
            const sample = await (await fetch("/static/samples/coffee.webp")).blob();
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([sample], "coffee.webp", { type: sample.type }));
            const options = { bubbles: true, cancelable: true, dataTransfer };
            document.body.dispatchEvent(new DragEvent("drop", options));
        }"""
    )

    expect(page.locator(".bench h2")).to_have_text("coffee.webp")
    expect(page.locator(".bench")).to_be_visible()


def test_a_result_that_is_gone_does_not_stand_over_another_ones_picture(page: Page):
    pick(page, EXAMPLES / "coffee.jpg", EXAMPLES / "chelsea.jpg")
    expect(page.locator(".strip [data-phase=done]")).to_have_count(2)
    drawn(page)
    page.evaluate(
        """async () => {
            const { jobs } = await (await fetch("/api/v1/jobs")).json();
            const { id } = jobs.find(({ name }) => name === "chelsea.jpg");
            await fetch(`/api/v1/jobs/${id}`, { method: "DELETE" });
        }"""
    )

    page.get_by_role("button", name="chelsea.jpg: Done").click()
    expect(page.locator(".error")).to_contain_text("This result is no longer on the server.")
    expect(page.get_by_role("button", name="Download PNG")).to_be_hidden()

    page.get_by_role("button", name="Try again").click()
    drawn(page)
    expect(page.locator(".bench h2")).to_have_text("chelsea.jpg")
