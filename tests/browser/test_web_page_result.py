"""What a person does with a result: brush, edge, shadow, background, comparing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from actions import as_file, bottle, downloaded, drawn, pick, tasks_ms
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

SIZE = (1500, 2000)
PATIENCE_MS = 30_000


@pytest.fixture
def result(page: Page) -> Page:
    """The page with a bottle cut out of a photo of SIZE."""
    pick(page, as_file(bottle().resize(SIZE, Image.Resampling.LANCZOS), "JPEG", quality=92))
    drawn(page)
    return page


def alpha_of(picture: Image.Image) -> NDArray[np.uint8]:
    """H x W, 0..255; of a mask its grey values."""
    return np.asarray(picture if picture.mode == "L" else picture.getchannel("A"))


def paint(page: Page, mode: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A stroke of the brush between two places, as shares of the picture's width and height."""
    page.get_by_role("radio", name=mode, exact=True).check()
    box = page.locator(".frame").bounding_box()
    assert box
    for (x, y), act in ((start, page.mouse.down), (end, page.mouse.up)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=6)
        act()


ALPHA = """([x, y]) => {
    const canvas = document.querySelector(".cut");
    const place = [Math.floor(x * canvas.width), Math.floor(y * canvas.height)];
    return canvas.getContext("2d").getImageData(...place, 1, 1).data[3];
}"""
"""The alpha of the cut-out on the screen at a place, as shares of its width and height."""


def removed(page: Page, x: float, y: float) -> None:
    """Wait until the cut-out on the screen is transparent at a place."""
    page.wait_for_function(f"(place) => ({ALPHA})(place) === 0", arg=[x, y])


def kept(page: Page, x: float, y: float) -> None:
    """Wait until the cut-out on the screen is solid at a place."""
    page.wait_for_function(f"(place) => ({ALPHA})(place) > 225", arg=[x, y])


def test_strokes_of_the_brush_are_on_the_screen_at_once_and_in_the_file_at_full_size(
    result: Page, tmp_path: Path
):
    result.get_by_role("button", name="Brush").click()

    paint(result, "Remove", (0.4, 0.5), (0.6, 0.5))
    paint(result, "Keep", (0.05, 0.1), (0.2, 0.1))
    assert result.evaluate(ALPHA, [0.5, 0.5]) == 0
    assert result.evaluate(ALPHA, [0.1, 0.1]) == 255

    cut = downloaded(result, "Download PNG", tmp_path)
    assert cut.size == SIZE
    alpha = alpha_of(cut)
    assert alpha[1000, 750] == 0, "removed"
    assert alpha[1400, 750] > 225, "untouched"
    assert alpha[1800, 1400] < 30, "untouched"
    assert np.abs(np.subtract(cut.getpixel((200, 200)), (235, 232, 226, 255))).max() <= 4, "kept"


def test_a_stroke_can_be_undone_and_made_again(result: Page, tmp_path: Path):
    result.get_by_role("button", name="Brush").click()
    paint(result, "Remove", (0.4, 0.5), (0.6, 0.5))

    result.get_by_role("button", name="Undo").click()
    kept(result, 0.5, 0.5)
    expect(result.get_by_role("button", name="Undo")).to_be_disabled()

    result.get_by_role("button", name="Redo").click()
    assert alpha_of(downloaded(result, "Mask", tmp_path))[1000, 750] == 0


def test_the_brush_can_be_used_by_keys_alone(result: Page):
    result.get_by_role("button", name="Brush").focus()
    result.keyboard.press("Enter")
    expect(result.locator(".stage")).to_be_focused()
    for key in ["]"] * 3 + ["ArrowUp"] * 2 + ["ArrowDown"] * 2 + ["Space"]:
        result.keyboard.press(key)
    removed(result, 0.5, 0.5)

    result.keyboard.press("x")
    result.keyboard.press("Space")
    kept(result, 0.5, 0.5)

    result.keyboard.press("Control+z")
    result.keyboard.press("Control+z")
    result.keyboard.press("Escape")
    expect(result.get_by_role("group", name="Brush")).to_be_hidden()


@pytest.mark.parametrize("looks", [{"viewport": {"width": 390, "height": 844}, "has_touch": True}])
def test_one_finger_paints_and_two_fingers_zoom(result: Page):
    result.get_by_role("button", name="Brush").click()
    touch = """async ([type, id, x, y]) => {
        const frame = document.querySelector(".frame");
        const box = frame.getBoundingClientRect();
        const [clientX, clientY] = [box.x + x * box.width, box.y + y * box.height];
        frame.setPointerCapture = () => {};
        const place = { pointerId: id, clientX, clientY, bubbles: true };
        frame.dispatchEvent(new PointerEvent(type, place));
    }"""

    for event in (["down", 1, 0.45, 0.5], ["move", 1, 0.55, 0.5], ["up", 1, 0.55, 0.5]):
        result.evaluate(touch, ["pointer" + str(event[0]), *event[1:]])
    removed(result, 0.5, 0.5)

    for event in (["down", 1, 0.4, 0.8], ["down", 2, 0.6, 0.8], ["move", 2, 0.8, 0.8]):
        result.evaluate(touch, ["pointer" + str(event[0]), *event[1:]])
    expect(result.get_by_title("Fit to the window")).to_have_text("200 %")
    for event in (["up", 2, 0.8, 0.8], ["up", 1, 0.4, 0.8]):
        result.evaluate(touch, ["pointer" + str(event[0]), *event[1:]])
    kept(result, 0.45, 0.8)
    expect(result.get_by_role("button", name="Redo")).to_be_disabled()


def test_the_edge_moves_hardens_and_softens_and_nothing_is_sent(result: Page, tmp_path: Path):
    result.get_by_text("Edge and shadow", exact=True).click()
    before = alpha_of(downloaded(result, "Mask", tmp_path)).astype(float)
    result.traffic.requests.clear()  # type: ignore[attr-defined]
    masks = {}
    for name, value in [("Shift", 1), ("Shift", -1), ("Softness", 1), ("Softness", -1)]:
        result.get_by_role("slider", name=name).fill(str(value))
        masks[name, value] = alpha_of(downloaded(result, "Mask", tmp_path)).astype(float)
        result.get_by_role("button", name="Reset edge and shadow").click()

    sent = [request for request in result.traffic.requests if request.method != "GET"]  # type: ignore[attr-defined]
    assert sent == []
    across = {name: mask[1000].sum() / 255 for name, mask in masks.items()}
    whole = before[1000].sum() / 255
    assert across["Shift", 1] - whole == pytest.approx(2 * 0.008 * 2000, abs=4)
    assert whole - across["Shift", -1] == pytest.approx(2 * 0.008 * 2000, abs=4)
    soft = {name: ((mask > 5) & (mask < 250)).sum() for name, mask in masks.items()}
    assert soft["Softness", 1] > 2 * ((before > 5) & (before < 250)).sum()
    assert soft["Softness", -1] < 0.6 * ((before > 5) & (before < 250)).sum()


def test_a_shadow_falls_on_the_ground_and_is_soft(result: Page, tmp_path: Path):
    result.get_by_text("Edge and shadow", exact=True).click()
    result.get_by_role("slider", name="Strength").fill("0.8")

    alone = downloaded(result, "Download PNG", tmp_path)
    result.get_by_title("White").click()
    on_white = downloaded(result, "Download PNG", tmp_path)

    beside = alone.getpixel((1030, 1500))
    assert beside[:3] == (0, 0, 0) and 30 < beside[3] < 230
    assert (alone.mode, on_white.mode) == ("RGBA", "RGB")
    red, green, blue = on_white.getpixel((1030, 1500))
    assert red == green == blue == pytest.approx(255 - beside[3], abs=2)
    assert on_white.getpixel((1450, 100)) == (255, 255, 255)


def test_a_picture_in_the_background_is_shown_whole_or_moved_by_drag(result: Page, tmp_path: Path):
    ground = Image.new("RGB", (400, 100), (10, 20, 230))
    ground.paste((230, 20, 10), (200, 0, 400, 100))
    result.set_input_files(".backgrounds [type=file]", [as_file(ground, "PNG")])
    expect(result.get_by_label("Own picture")).to_be_checked()
    corner, other = (100, 1000), (1400, 1000)

    cover = downloaded(result, "Download PNG", tmp_path)
    result.get_by_role("button", name="Move it").click()
    box = result.locator(".frame").bounding_box()
    assert box
    result.mouse.move(box["x"] + 20, box["y"] + 20)
    result.mouse.down()
    result.mouse.move(box["x"] + 20 + 4 * box["width"], box["y"] + 20, steps=4)
    result.mouse.up()
    moved = downloaded(result, "Download PNG", tmp_path)
    result.get_by_role("button", name="Show all of it").click()
    contain = downloaded(result, "Download PNG", tmp_path)

    blue, red = (10, 20, 230), (230, 20, 10)
    assert (cover.getpixel(corner), cover.getpixel(other)) == (blue, red)
    assert (moved.getpixel(corner), moved.getpixel(other)) == (blue, blue)
    assert (contain.getpixel(corner), contain.getpixel((100, 100))) == (blue, (255, 255, 255))


def test_the_photo_is_seen_as_it_was_while_the_button_is_held(result: Page):
    hold = result.get_by_role("button", name="Hold to compare")
    hold.hover()

    result.mouse.down()
    expect(result.locator(".after")).to_be_hidden()
    result.mouse.up()

    expect(result.locator(".after")).to_be_visible()
    hold.focus()
    result.keyboard.down("Space")
    expect(result.locator(".after")).to_be_hidden()
    result.keyboard.up("Space")
    expect(result.locator(".after")).to_be_visible()


def test_a_file_that_only_the_server_writes_says_what_it_cannot_have(result: Page):
    result.get_by_text("Edge and shadow", exact=True).click()
    result.get_by_role("slider", name="Strength").fill("0.5")

    result.get_by_role("button", name="AVIF").click()

    expect(result.locator(".said")).to_contain_text("has no brush, edge or shadow")


def test_where_the_browser_copies_no_picture_a_sentence_says_what_to_do(page: Page):
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.reload()
    page.wait_for_selector(".pm-chooser :checked")
    pick(page, as_file(bottle(), "PNG"))
    drawn(page)

    page.get_by_role("button", name="Copy", exact=True).first.click()

    expect(page.locator(".said")).to_contain_text("only on https")


def test_a_photo_of_12_megapixels_is_edited_without_blocking_the_page(page: Page):
    pick(page, as_file(bottle().resize((3000, 4000)), "JPEG", quality=90))
    drawn(page)
    page.get_by_text("Edge and shadow", exact=True).click()

    with tasks_ms(page) as tasks:
        for value in range(0, 100, 10):
            page.get_by_role("slider", name="Shift").fill(str(value / 100))
            page.wait_for_timeout(30)
        with page.expect_download(timeout=4 * PATIENCE_MS):
            page.get_by_role("button", name="Download PNG").click()

    assert len(tasks) > 100 and max(tasks) <= 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("looks", [{"viewport": {"width": 390, "height": 844}}])
def test_the_tools_fit_on_a_telephone(page: Page, scheme: Any):
    page.emulate_media(color_scheme=scheme)
    pick(page, as_file(bottle(), "PNG"))
    drawn(page)
    page.get_by_label("To subject").check()
    page.get_by_text("Edge and shadow", exact=True).click()
    page.get_by_role("slider", name="Strength").fill("0.5")
    page.get_by_role("button", name="Brush").click()

    out = page.evaluate(
        """() => [...document.querySelectorAll("main *")]
            .filter((node) => node.checkVisibility() && !node.closest("pre, .pan"))
            .filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
            .map((node) => node.outerHTML.slice(0, 90))"""
    )
    assert out == []


def test_of_two_subjects_a_click_keeps_one_and_the_first_result_stays(page: Page):
    one = np.asarray(bottle().convert("RGB"))
    pick(page, as_file(Image.fromarray(np.hstack([one, one])), "JPEG", quality=92))
    drawn(page)
    kept(page, 0.25, 0.7)
    kept(page, 0.75, 0.7)
    expect(page.get_by_text("There are several subjects.")).to_be_visible()
    expect(page.get_by_text("Certainty")).to_be_visible()

    page.get_by_role("button", name="Choose subject").click()
    box = page.locator(".frame").bounding_box()
    assert box
    page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 0.7 * box["height"])

    removed(page, 0.75, 0.7)
    kept(page, 0.25, 0.7)
    expect(page.get_by_role("list", name="Photos").get_by_role("listitem")).to_have_count(2)
    expect(page.get_by_text("There are several subjects.")).to_be_hidden()


def test_the_focus_stays_at_the_brush_where_its_buttons_end(result: Page):
    brush = result.get_by_role("button", name="Brush")
    undo, redo = (result.get_by_role("button", name=name) for name in ("Undo", "Redo"))
    brush.click()
    paint(result, "Remove", (0.4, 0.5), (0.6, 0.5))

    undo.press("Enter")
    expect(redo).to_be_focused()
    redo.press("Enter")
    expect(undo).to_be_focused()

    result.get_by_role("button", name="Done", exact=True).press("Enter")
    expect(brush).to_be_focused()


def test_there_are_no_tools_before_there_is_a_picture(page: Page):
    held: list[Any] = []
    page.route("**/static/result/worker.js", lambda route: held.append(route))

    pick(page, as_file(bottle(), "PNG"))
    page.wait_for_selector(".viewer .tools", state="attached")
    page.wait_for_timeout(300)
    expect(page.get_by_role("button", name="Download PNG")).to_be_hidden()

    for route in held:
        route.continue_()
    drawn(page)
    expect(page.get_by_role("button", name="Download PNG")).to_be_visible()
