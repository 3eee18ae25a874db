"""The page in a real browser on the real stack: from a photo to a cut-out, and what goes wrong."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from actions import downloaded, drawn, pick
from PIL import Image
from playwright.sync_api import Page, Route, expect
from traffic import bytes_of

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
ASTRONAUT = EXAMPLES / "astronaut.jpg"
MOST_BYTES_TO_WEB = 8192


def photo(width: int, height: int) -> dict[str, Any]:
    """The astronaut, enlarged, as a file to pick."""
    data = io.BytesIO()
    with Image.open(ASTRONAUT) as small:
        small.resize((width, height)).save(data, "JPEG", quality=95)
    return {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": data.getvalue()}


def show(page: Page, result: dict[str, Any]) -> None:
    """A viewer of its own, `#alone`, with a result that no model of the tests makes."""
    page.evaluate(
        """async (result) => {
            const { Viewer } = await import("/static/viewer.js");
            const root = document.createElement("div");
            Object.assign(root, { id: "alone", className: "viewer" });
            document.querySelector(".pm-workbench").append(root);
            const file = await (await fetch("/examples/coffee.jpg")).blob();
            const job = { id: "1", result: { width: 100, height: 100, objects: {}, ...result } };
            await new Viewer(root, () => {}).showResult({ name: "a.jpg", photo: { file }, job });
        }""",
        result,
    )


def shown_job(page: Page) -> dict[str, Any]:
    """The job as `For programs` shows it."""
    page.get_by_text("For programs").click()
    expect(page.locator(".programs pre")).to_contain_text("state")
    return dict(json.loads(page.locator(".programs pre").inner_text()))


def watch_phases(page: Page) -> None:
    """From now on `window.phases` has every phase that the item on the bench was in."""
    page.evaluate(
        """() => {
            const bench = document.querySelector(".bench");
            window.phases = [];
            new MutationObserver(() => window.phases.push(bench.dataset.phase))
              .observe(bench, { attributes: true, attributeFilter: ["data-phase"] });
        }"""
    )


def test_a_photo_becomes_a_cut_out_stage_by_stage(page: Page, tmp_path: Path):
    watch_phases(page)

    pick(page, ASTRONAUT)
    drawn(page)

    phases = page.evaluate("[...new Set(window.phases)]")
    assert {"uploading", "queued", "inferring", "done"} <= set(phases), phases
    assert page.locator(".stages li").count() >= 4
    cut = downloaded(page, "Download PNG", tmp_path)
    assert (cut.size, cut.mode) == ((512, 512), "RGBA")
    assert cut.getpixel((480, 30))[3] < 30, "the wall is gone"
    assert cut.getpixel((230, 400))[3] > 225, "the suit is there"


def test_image_bytes_go_to_the_signed_address_only(page: Page):
    pick(page, ASTRONAUT)
    drawn(page)

    assert len(page.traffic.puts) == 1
    assert "X-Amz-Signature" in page.traffic.puts[0].url
    assert page.traffic.largest_to_web < MOST_BYTES_TO_WEB


def test_the_same_file_again_sends_no_image_byte(page: Page):
    pick(page, ASTRONAUT)
    drawn(page)
    page.traffic.requests.clear()

    pick(page, ASTRONAUT)
    expect(page.locator(".strip [data-phase=done]")).to_have_count(2)

    assert page.traffic.puts == []
    expect(page.locator(".badge")).to_be_visible()
    expect(page.locator(".facts")).to_contain_text("nothing sent")


COUNT_DECODED = """() => {
    const decode = self.createImageBitmap;
    self.decoded = 0;
    self.createImageBitmap = (...given) => (self.decoded++, decode(...given));
}"""


def test_the_same_file_again_is_not_decoded(page: Page):
    pick(page, ASTRONAUT)
    drawn(page)
    page.wait_for_function("!sessionStorage['pixelmill.items']?.includes('\"stored\":null')")
    first = page.locator(".viewer").get_attribute("data-drawn")
    threads = (page, *page.workers)
    for thread in threads:
        thread.evaluate(COUNT_DECODED)

    pick(page, ASTRONAUT)

    expect(page.locator(".viewer")).not_to_have_attribute("data-drawn", str(first))
    assert [thread.evaluate("decoded") for thread in threads] == [0, 0]


def test_one_stream_follows_all_photos_and_ends_with_them(page: Page):
    pick(page, ASTRONAUT, EXAMPLES / "chelsea.jpg", EXAMPLES / "coffee.jpg")
    expect(page.locator(".strip [data-phase=done]")).to_have_count(3)

    urls = [request.url for request in page.traffic.requests]
    assert any("/api/v1/events?jobs=" in url for url in urls)
    assert not any("/events" in url and "/jobs/" in url for url in urls), "none of a single job"
    open_streams = "performance.getEntriesByType('resource').filter((e) => /events/.test(e.name))"
    page.wait_for_function(f"{open_streams}.length > 0")  # an entry is made when a stream has ended


def test_without_a_stream_jobs_are_asked_for(page: Page):
    page.route("**/api/v1/events*", lambda route: route.abort())

    pick(page, ASTRONAUT)

    drawn(page)


def test_a_text_file_called_jpg_is_answered_with_a_sentence(page: Page):
    pick(page, {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"This is no photo. " * 9})

    error = page.locator(".error")
    expect(error).to_be_visible()
    assert len(error.locator("b").inner_text().split()) > 3
    expect(error.get_by_role("button", name="Try again")).to_be_visible()


def test_what_is_no_picture_at_all_is_not_even_sent(page: Page):
    pick(page, {"name": "a.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7"})

    expect(page.locator(".error")).to_contain_text("not a photo")
    assert page.traffic.puts == []


def test_one_bad_file_does_not_hurt_the_others(page: Page, tmp_path: Path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff but no more")

    pick(page, ASTRONAUT, bad, EXAMPLES / "chelsea.jpg", EXAMPLES / "coffee.jpg")

    expect(page.locator(".strip [data-phase=done]")).to_have_count(3)
    expect(page.locator(".strip [data-phase=failed]")).to_have_count(1)


def test_a_changed_parameter_runs_again_without_a_new_upload(page: Page):
    pick(page, ASTRONAUT)
    drawn(page)
    first = page.get_attribute(".viewer", "data-drawn")
    expect(page.get_by_role("button", name="Run again")).to_be_hidden()
    page.traffic.requests.clear()

    page.get_by_label("Sharp edges").click()
    page.get_by_role("button", name="Run again").click()
    page.wait_for_function(
        "old => document.querySelector('.viewer').dataset.drawn !== old", arg=first
    )
    drawn(page)

    assert page.traffic.puts == []
    job = shown_job(page)
    assert (job["cached"], job["params"]["refine"]) == (False, False)


def test_a_large_photo_is_shrunk_but_cut_out_at_its_full_size(page: Page, tmp_path: Path):
    large = photo(3000, 1000)

    pick(page, large)
    drawn(page)

    (put,) = page.traffic.puts
    assert bytes_of(put) < len(large["buffer"]) * 0.8
    expect(page.locator(".facts")).to_contain_text("shrunk")
    assert downloaded(page, "WebP", tmp_path).size == (3000, 1000)


def test_originals_are_sent_as_they_are_on_request(page: Page):
    large = photo(2500, 900)

    page.get_by_label("Send originals").check()
    pick(page, large)
    drawn(page)

    assert [bytes_of(put) for put in page.traffic.puts] == [len(large["buffer"])]


def test_a_put_that_breaks_is_tried_again(page: Page):
    tries: list[str] = []

    def break_the_first(route: Route) -> None:
        if route.request.method != "PUT":
            route.continue_()
            return
        tries.append(route.request.url)
        route.abort() if len(tries) == 1 else route.continue_()

    page.route("**/in/**", break_the_first)

    pick(page, ASTRONAUT)
    drawn(page)

    assert len(tries) == 2


def test_without_secure_context_nothing_is_recognised_but_all_works(page: Page):
    page.add_init_script("Object.defineProperty(crypto, 'subtle', { value: undefined })")
    page.reload()
    page.wait_for_selector(".pm-chooser :checked")

    pick(page, ASTRONAUT)
    drawn(page)

    assert any("/uploads" in request.url for request in page.traffic.requests)


def test_the_chosen_background_is_in_the_download(page: Page, tmp_path: Path):
    pick(page, ASTRONAUT)
    drawn(page)

    page.get_by_title("Green").click()

    cut = downloaded(page, "Download PNG", tmp_path).convert("RGB")
    red, green, blue = cut.getpixel((480, 30))
    assert green > 150 and max(red, blue) < 100


def test_the_tiles_keep_the_focus_while_others_run(page: Page):
    pick(page, ASTRONAUT)
    drawn(page)
    tile = page.locator(".strip .pick").first
    tile.focus()

    pick(page, EXAMPLES / "coffee.jpg")
    expect(page.locator(".strip [data-phase=done]")).to_have_count(2)

    expect(tile).to_be_focused()


def test_a_sample_is_one_click(page: Page):
    page.get_by_role("button", name="A cat").click()

    drawn(page)


def test_a_pasted_photo_is_taken(page: Page):
    page.evaluate(
        """async () => {
            const blob = await (await fetch("/examples/coffee.jpg")).blob();
            const data = new DataTransfer();
            data.items.add(new File([blob], "", { type: blob.type }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
        }"""
    )

    drawn(page)


def test_a_reload_keeps_the_results_of_the_tab(page: Page):
    pick(page, ASTRONAUT, EXAMPLES / "coffee.jpg")
    kept = (
        "() => ['astronaut', 'coffee'].every((n) => sessionStorage['pixelmill.items']?.includes(n))"
    )
    page.wait_for_function(kept)

    page.reload()

    expect(page.locator(".strip [data-phase=done]")).to_have_count(2)
    drawn(page)


def test_the_border_between_before_and_after_moves_by_keys(page: Page):
    pick(page, ASTRONAUT)
    drawn(page)
    border = page.get_by_role("slider", name="Border between before and after")

    border.focus()
    page.keyboard.press("ArrowLeft")
    assert border.get_attribute("aria-valuenow") == "45"
    page.keyboard.press("End")
    assert border.get_attribute("aria-valuenow") == "100"


def test_a_model_that_is_a_new_file_appears_with_its_form(page: Page):
    page.get_by_label("Toy brightener").check()

    gain = page.get_by_role("slider", name="Gain")
    expect(gain).to_have_value("1.5")
    expect(page.get_by_text("Times as bright.")).to_be_visible()


def test_the_form_of_another_model_is_what_it_is_run_with(page: Page):
    page.get_by_label("Toy brightener").check()
    page.get_by_role("slider", name="Gain").fill("3")

    pick(page, ASTRONAUT)
    drawn(page)

    job = shown_job(page)
    assert (job["model"], job["params"]) == ("toy", {"gain": 3})


@pytest.mark.parametrize("after", [False, True], ids=["at once", "after a reload"])
def test_a_stopped_photo_is_stopping_until_the_worker_has_stopped(page: Page, after: bool):
    page.get_by_label("Slow").check()
    page.get_by_role("slider", name="Prepare").fill(
        "8"
    )  # a reload takes a while, a busy browser too
    pick(page, ASTRONAUT)
    expect(page.locator(".bench")).to_have_attribute("data-phase", "preprocessing")
    if after:
        page.reload()
        expect(page.locator(".bench")).to_have_attribute("data-phase", "preprocessing")
    watch_phases(page)

    page.get_by_role("button", name="Stop").click()

    expect(page.locator(".sentence")).to_have_text("Stopping")
    expect(page.get_by_text("Stopped.")).to_be_visible()
    phases = page.evaluate("[...new Set(window.phases)]")
    assert phases[phases.index("cancelling") :] == ["cancelling", "cancelled"]
    assert shown_job(page)["state"] == "cancelled"


def test_a_removed_photo_leaves_no_work_behind(page: Page):
    page.get_by_label("Slow").check()
    page.get_by_role("slider", name="Prepare").fill("8")
    pick(page, ASTRONAUT)
    expect(page.locator(".bench")).to_have_attribute("data-phase", "preprocessing")

    with page.expect_response("**/cancel") as answer:
        page.get_by_role("button", name="Remove astronaut.jpg").click()

    assert answer.value.json()["state"] == "cancelling"
    expect(page.locator(".strip li")).to_have_count(0)


def test_labels_are_shown_as_bars(page: Page):
    show(page, {"kind": "labels", "data": {"labels": [{"label": "espresso", "score": 0.95}]}})

    expect(page.locator("#alone .labels li")).to_have_text("espresso95 %")


def test_only_what_is_certain_is_shown_as_100_per_cent(page: Page):
    shown = page.evaluate(
        """async (scores) => {
            const { percent } = await import("/static/numbers.js");
            return scores.map(percent);
        }""",
        [0, 0.0042, 0.57, 0.99, 0.9974, 0.99999, 1],
    )

    assert shown == ["0 %", "0.4 %", "57 %", "99 %", "99.7 %", "99.9 %", "100 %"]


def test_the_threshold_hides_boxes_without_a_request(page: Page):
    faces = [
        {"box": [10, 10, 60, 60], "label": "facemask", "score": 0.9},
        {"box": [70, 10, 90, 60], "label": "no facemask", "score": 0.6},
    ]
    show(page, {"kind": "boxes", "data": {"faces": faces}})
    expect(page.locator("#alone .boxes div")).to_have_count(2)
    expect(page.locator("#alone .counts")).to_have_text("1 facemask, 1 no facemask")
    page.traffic.requests.clear()

    page.locator("#alone .threshold input").fill("0.75")

    expect(page.locator("#alone .boxes span")).to_have_text(["facemask 90 %"])
    asked = [request.url for request in page.traffic.requests]
    quotas = ("/me", "/quota.js")  # after the start
    assert [url for url in asked if not url.endswith(quotas)] == []


def test_the_label_of_a_box_at_any_edge_is_seen_whole(page: Page):
    corners = [[0, 0, 9, 9], [91, 0, 100, 9], [0, 91, 9, 100], [91, 91, 100, 100]]
    faces = [{"box": box, "label": "no facemask", "score": 0.9} for box in corners]
    show(page, {"kind": "boxes", "data": {"faces": faces}})
    expect(page.locator("#alone .boxes span")).to_have_count(4)

    hidden = page.evaluate(
        """() => {
            const frame = document.querySelector("#alone .frame").getBoundingClientRect();
            const labels = [...document.querySelectorAll("#alone .boxes span")];
            return labels.map((label) => label.getBoundingClientRect()).filter((box) =>
                box.left < frame.left - 3 || box.right > frame.right + 3
                || box.top < frame.top || box.bottom > frame.bottom).length;
        }"""
    )

    assert hidden == 0


def test_labels_of_faces_near_each_other_do_not_cover_each_other(page: Page):
    near = [[10, 30, 30, 60], [14, 30, 34, 60], [12, 34, 32, 64], [18, 31, 40, 62]]
    faces = [{"box": box, "label": "no facemask", "score": 0.9} for box in near]
    show(page, {"kind": "boxes", "data": {"faces": faces}})
    expect(page.locator("#alone .boxes span")).to_have_count(4)

    covered = page.evaluate(
        """() => {
            const labels = [...document.querySelectorAll("#alone .boxes span")];
            const boxes = labels.map((label) => label.getBoundingClientRect());
            return boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) =>
                a.left < b.right - 1 && b.left < a.right - 1
                && a.top < b.bottom - 1 && b.top < a.bottom - 1)).length;
        }"""
    )

    assert covered == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("looks", [{"viewport": {"width": 390, "height": 844}}])
def test_nothing_sticks_out_on_a_telephone(page: Page, scheme: Any):
    page.emulate_media(color_scheme=scheme)
    pick(page, ASTRONAUT, EXAMPLES / "coffee.jpg")
    expect(page.locator(".strip [data-phase=done]")).to_have_count(2)
    drawn(page)

    out = page.evaluate(
        """() => [...document.querySelectorAll("main *")]
            .filter((node) => node.checkVisibility() && !node.closest("pre, .pan"))
            .filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
            .map((node) => node.outerHTML.slice(0, 90))"""
    )
    assert out == []
