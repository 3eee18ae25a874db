"""Many photos on the page: the strip, the bar over it, an archive of all, folders, a reload."""

import io
import zipfile
from pathlib import Path
from typing import Any

from actions import as_file, bottle, downloaded, drawn, pick, tasks_ms
from PIL import Image
from playwright.sync_api import Page, expect

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
THREE = [EXAMPLES / f"{name}.jpg" for name in ("astronaut", "chelsea", "coffee")]


def done(page: Page, count: int) -> None:
    """Wait until so many photos are done."""
    expect(page.locator(".strip [data-phase=done]")).to_have_count(count)


def archive(page: Page, folder: Path) -> zipfile.ZipFile:
    """What `Download all` gives."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download all").click()
    assert waiting.value.suggested_filename == "pixelmill.zip"
    path = folder / "all.zip"
    waiting.value.save_as(path)
    return zipfile.ZipFile(path)


def test_all_results_leave_as_one_archive(page: Page, tmp_path: Path):
    coffee = (EXAMPLES / "coffee.jpg").read_bytes()
    same_name = {"name": "chelsea.jpg", "mimeType": "image/jpeg", "buffer": coffee}
    pick(page, *THREE)
    pick(page, same_name)
    done(page, 4)

    with archive(page, tmp_path) as files:
        assert files.testzip() is None
        names = ("astronaut-cutout", "chelsea-cutout", "chelsea-cutout (2)", "coffee-cutout")
        assert sorted(files.namelist()) == sorted(f"{name}.png" for name in names)
        picture = Image.open(io.BytesIO(files.read("astronaut-cutout.png")))
    assert (picture.size, picture.mode) == ((512, 512), "RGBA")
    expect(page.locator(".batch .note")).to_have_text("The archive is complete.")


def test_an_archive_of_very_many_files_on_plain_http_is_read_by_others(page: Page, tmp_path: Path):
    with page.expect_download(timeout=120_000) as waiting:
        page.evaluate(
            """async () => {
                Object.defineProperty(navigator, "storage", { value: undefined });
                const { newSink, Zip } = await import("/static/batch/zip.js");
                const { save } = await import("/static/photo/pictures.js");
                const zip = new Zip(await newSink());
                const hello = new Blob(["hello"]);
                for (let i = 0; i < 65_600; i++) await zip.add("höhe.txt", hello, 0x3610a686);
                save(await zip.finish(), "many.zip");
            }"""
        )
    waiting.value.save_as(tmp_path / "many.zip")

    with zipfile.ZipFile(tmp_path / "many.zip") as files:
        assert len(files.infolist()) == 65_600
        assert files.read("höhe (2).txt") == b"hello"
        assert files.read("höhe (65600).txt") == b"hello"


def test_the_arrow_keys_go_from_photo_to_photo(page: Page):
    pick(page, *THREE)
    done(page, 3)
    title = page.locator("h2")
    expect(title).to_have_text("astronaut.jpg")

    page.keyboard.press("ArrowRight")
    expect(title).to_have_text("chelsea.jpg")
    page.locator(".strip .pick").nth(1).focus()
    page.keyboard.press("End")
    expect(title).to_have_text("coffee.jpg")
    expect(page.locator(".strip .pick").nth(2)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(title).to_have_text("chelsea.jpg")


def test_states_are_told_apart_and_all_can_be_cancelled_and_tried_again(page: Page):
    bad = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"This is no photo. " * 9}
    page.get_by_label("Slow").check()
    page.get_by_role("slider", name="Prepare").fill("8")
    pick(page, bad)
    expect(page.locator(".strip [data-phase=failed]")).to_have_count(1)
    for begun, photo in enumerate(THREE[:2], start=1):  # as many as there are cpu processes
        pick(page, photo)
        expect(page.locator(".strip [data-phase=busy]")).to_have_count(begun)
    pick(page, THREE[2])
    expect(page.locator(".strip [data-phase=waiting]")).not_to_have_count(0)
    expect(page.locator(".batch b")).to_contain_text("of 4 done")

    page.get_by_role("button", name="Cancel all").click()
    expect(page.locator(".strip [data-phase=cancelled]")).to_have_count(3)
    expect(page.locator(".batch")).to_contain_text("1 failed · 3 cancelled")

    page.get_by_label("Background removal").check()
    page.get_by_role("button", name="Try 3 again").click()
    done(page, 3)
    expect(page.locator(".strip [data-phase=failed]")).to_have_count(1)


def test_a_folder_is_taken_with_all_its_photos_and_nothing_else(page: Page, tmp_path: Path):
    (tmp_path / "inner").mkdir()
    for name in ("b.jpg", "inner/a.jpg"):
        (tmp_path / name).write_bytes((EXAMPLES / "coffee.jpg").read_bytes())
    (tmp_path / "notes.txt").write_text("no photo")

    page.set_input_files(".folder input", str(tmp_path))

    done(page, 2)
    expect(page.locator(".strip li")).to_have_count(2)


def test_500_files_at_once_do_not_block_the_page(page: Page):
    page.route("**/api/v1/uploads", lambda route: route.abort())
    page.route("**/api/v1/jobs", lambda route: route.abort())
    page.evaluate(
        """async () => {
            const photo = await (await fetch("/examples/coffee.jpg")).blob();
            window.photos = new DataTransfer();
            for (let i = 0; i < 500; i++) {
                photos.items.add(new File([photo, `${i}`], `photo-${i}.jpg`, { type: photo.type }));
            }
        }"""
    )
    with tasks_ms(page) as tasks:
        page.evaluate(
            "document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: photos }))"
        )
        expect(page.locator(".strip li")).to_have_count(500)
        page.wait_for_timeout(1500)

    assert len(tasks) > 100 and max(tasks) <= 200


def test_after_a_reload_files_have_the_photos_full_size_and_the_strokes(page: Page, tmp_path: Path):
    pick(page, as_file(bottle().resize((1800, 2400)), "JPEG", quality=90))
    drawn(page)
    page.get_by_role("button", name="Brush").click()
    page.keyboard.press("Space")
    page.wait_for_function("() => sessionStorage['pixelmill.items']?.includes('strokes')")
    page.wait_for_function("() => sessionStorage['pixelmill.items']?.includes('stored')")

    page.reload()
    drawn(page)

    mask = downloaded(page, "Mask", tmp_path)
    assert mask.size == (1800, 2400)
    assert mask.getpixel((900, 1200)) == 0
    assert downloaded(page, "Download PNG", tmp_path).size == (1800, 2400)
    expect(page.locator(".reloaded")).to_be_hidden()


def test_without_room_for_the_photo_the_servers_cut_out_is_there_after_a_reload(
    page: Page, tmp_path: Path
):
    page.add_init_script("indexedDB.open = () => { throw new Error('full'); }")
    page.reload()
    page.wait_for_selector(".pm-chooser :checked")
    pick(page, as_file(bottle().resize((1800, 2400)), "JPEG", quality=90))
    drawn(page)
    page.wait_for_function("() => sessionStorage['pixelmill.items']?.includes('a.jpeg')")

    page.reload()
    drawn(page)

    expect(page.locator(".reloaded")).to_be_visible()
    assert downloaded(page, "Download PNG", tmp_path).size == (1536, 2048)
    assert downloaded(page, "Mask", tmp_path).size == (1536, 2048)


def test_where_the_tabs_storage_is_full_jobs_are_kept_without_their_small_copies(page: Page):
    page.add_init_script("indexedDB.open = () => { throw new Error('full'); }")
    page.reload()
    page.wait_for_selector(".pm-chooser :checked")
    page.evaluate(
        """() => {
            let filler = "x".repeat(6_000_000);
            for (; filler; filler = filler.slice(1000)) {
                try { sessionStorage.filler = filler; break; } catch {}
            }
            sessionStorage.filler = filler.slice(4000);
        }"""
    )

    pick(page, THREE[0])
    drawn(page)
    page.wait_for_function("() => sessionStorage['pixelmill.items']?.includes('astronaut')")

    page.reload()
    expect(page.locator(".strip li")).to_have_count(1)


def test_photos_of_a_tab_that_is_gone_are_removed(page: Page, stack: Any):
    pick(page, THREE[0])
    drawn(page)
    page.wait_for_function("() => sessionStorage['pixelmill.items']?.includes('stored')")
    page.evaluate(
        """() => {
            const tab = Object.keys(localStorage).find((key) => key.startsWith("pixelmill.tab."));
            localStorage.setItem(tab, Date.now() - 3_600_000);
            sessionStorage.clear();
        }"""
    )

    page.reload()
    page.wait_for_selector(".pm-chooser :checked")

    page.wait_for_function(
        """() => new Promise((resolve) => {
            const opening = indexedDB.open("pixelmill");
            opening.onsuccess = () => {
                const store = opening.result.transaction("originals").objectStore("originals");
                store.count().onsuccess = ({ target }) => resolve(target.result === 0);
            };
        })"""
    )


def test_whoever_signs_in_next_finds_no_photos_of_another_person(page: Page):
    pick(page, THREE[0])
    drawn(page)
    page.wait_for_function("() => sessionStorage['pixelmill.items']?.includes('stored')")

    page.context.clear_cookies()
    page.reload()
    page.wait_for_selector(".pm-chooser :checked")

    page.wait_for_function("() => !sessionStorage['pixelmill.items']")
    expect(page.locator(".strip li")).to_have_count(0)


NOTIFIED = """() => {
    window.notes = [];
    window.Notification = class {
        static permission = "default";
        static async requestPermission() { return (this.permission = "granted"); }
        constructor(title) { window.notes.push(title); }
    };
    const [now, later] = [performance.now.bind(performance), window.setTimeout];
    window.ahead_ms = 0;
    performance.now = () => now() + window.ahead_ms;
    window.setTimeout = (work, ms, ...given) => later(work, ms === 30000 ? 100 : ms, ...given);
}"""
"""A browser whose half a minute is short, and which notes what it is to show the person."""


def test_whoever_asked_for_it_is_notified_of_the_end_of_a_long_batch(page: Page):
    page.get_by_label("Slow").check()
    page.get_by_role("slider", name="Prepare").fill("3")
    page.evaluate(NOTIFIED)
    pick(page, *THREE[:2])
    page.get_by_role("button", name="Tell me when it is done").click()

    page.evaluate("() => { window.ahead_ms = 60_000 }")
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")
    page.wait_for_function("window.notes.length")

    assert page.evaluate("window.notes") == ["2 of 2 photos are done."]


def test_the_page_is_not_left_with_photos_that_are_not_sent_without_a_question(page: Page):
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    held: list[Any] = []
    page.route("**/api/v1/jobs", lambda route: held.append(route), times=2)
    page.locator("h1").click()  # a browser asks nobody who has touched nothing
    pick(page, *THREE[:2])
    page.evaluate("() => import('/static/data/stored.js').then(() => {})")
    while len(held) < 2:
        page.wait_for_timeout(50)

    page.evaluate("() => { location.reload() }")
    expect(page.locator(".strip li")).to_have_count(2)
    page.wait_for_timeout(200)
    assert asked == ["beforeunload"]

    for route in held:
        route.continue_()
    done(page, 2)
    page.reload()
    done(page, 2)
    assert asked == ["beforeunload"], "what is sent is there again"


def test_the_bar_dims_what_it_cannot_do_yet_and_keeps_the_focus_when_a_button_goes(page: Page):
    held: list[Any] = []
    page.route("**/api/v1/jobs", lambda route: held.append(route))
    pick(page, *THREE[:2])
    nothing_yet = page.get_by_role("button", name="Download all")
    expect(nothing_yet).to_have_css("opacity", "0.5")

    page.get_by_role("button", name="Cancel all").press("Enter")
    retry = page.get_by_role("button", name="Try 2 again")
    expect(retry).to_be_focused()
    retry.press("Enter")
    expect(page.get_by_role("button", name="Cancel all")).to_be_focused()
