"""A volume on the page: the sample goes through a model, and its slices are looked at."""

from io import BytesIO
from zipfile import ZipFile

import pytest
from playwright.sync_api import Page, Route, expect
from test_web_page_access import violations

CANVAS = "document.querySelector('.slices canvas')"


@pytest.fixture
def opened(page: Page) -> Page:
    """The page with the sample volume's result."""
    page.locator('.pm-chooser input[value="toyvolume"]').check(force=True)
    page.locator('.samples [data-name="phantom"]').click()
    expect(page.locator(".slices .controls")).to_be_visible()
    return page


def shown(page: Page) -> str:
    return str(page.evaluate(f"{CANVAS}.toDataURL()"))


def place(page: Page) -> str | None:
    return page.locator(".slices canvas").get_attribute("aria-label")


def test_slices_windows_and_overlay_are_chosen_by_hand_and_by_keys(opened: Page) -> None:
    first = shown(opened)
    opened.keyboard.press("ArrowUp")
    assert place(opened) == "Slice 2 of 40"
    opened.keyboard.press("PageUp")
    assert place(opened) == "Slice 12 of 40"
    opened.get_by_label("Slice", exact=True).press("Home")
    assert shown(opened) == first

    opened.locator("body").press("3")
    expect(opened.get_by_label("Bone")).to_be_checked()
    bone = shown(opened)
    assert bone != first

    expect(opened.locator(".slices .names")).to_contain_text("Left half")
    opened.get_by_label("Overlay").press("Home")
    assert shown(opened) != bone
    expect(opened.locator(".slices .names")).to_be_empty()


def test_regions_are_told_by_name_and_pattern_and_their_files_are_saved(opened: Page) -> None:
    rows = opened.locator(".slices tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("Left half4,")
    looks = rows.locator("i").evaluate_all("(all) => all.map((one) => one.style.background)")
    assert len({look.split("deg")[0] for look in looks}) == 2, "not by colour alone"

    with opened.expect_download() as waiting:
        opened.get_by_role("link", name="Mask", exact=True).click()
    assert waiting.value.suggested_filename == "phantom-mask.bin"


def test_a_volume_is_not_offered_to_a_model_of_photos(opened: Page) -> None:
    opened.locator('.pm-chooser input[value="toy"]').check(force=True)
    expect(opened.locator("body")).to_have_attribute("data-takes", "image")

    expect(opened.get_by_role("button", name="Run again")).to_be_hidden()


@pytest.mark.parametrize(
    "looks",
    [
        {"viewport": {"width": 390, "height": 844}},
        {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "locale": "zh-CN"},
    ],
)
def test_the_viewer_is_accessible_and_fits_a_phone(opened: Page) -> None:
    assert violations(opened) == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390


def test_slices_that_the_storage_cannot_give_at_once_are_asked_for_again(page: Page) -> None:
    asked: list[str] = []

    def busy_at_first(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=503) if len(asked) == 1 else route.continue_()

    page.route("**/slices.bin.gz*", busy_at_first)
    page.locator('.pm-chooser input[value="toyvolume"]').check(force=True)
    page.locator('.samples [data-name="phantom"]').click()

    expect(page.locator(".slices .controls")).to_be_visible()
    assert len(asked) == 2


def test_a_file_without_bytes_is_said_to_be_empty(page: Page) -> None:
    page.locator('.pm-chooser input[value="toyvolume"]').check(force=True)
    empty = {"name": "slice.dcm", "mimeType": "", "buffer": b""}
    page.locator('input[type="file"]').first.set_input_files([empty])

    expect(page.get_by_text("The file is empty: it has no bytes.").first).to_be_visible()


def test_several_files_of_a_series_become_one_zip(page: Page) -> None:
    archive = page.evaluate(
        """async () => {
            const { grouped } = await import("/static/volume/files.js");
            const file = (name) => new File([name], name);
            const files = ["1.dcm", "2", "whole.nii.gz"].map(file);
            const [whole, zip, ...more] = await grouped(files, true);
            const bytes = [...new Uint8Array(await zip.arrayBuffer())];
            const names = [whole, zip].map(({ name, volumeType }) => [name, volumeType]);
            return { names, more, bytes };
        }"""
    )

    assert archive["names"] == [
        ["whole.nii.gz", "application/gzip"], ["1.zip", "application/zip"],
    ]  # fmt: skip
    assert archive["more"] == []
    with ZipFile(BytesIO(bytes(archive["bytes"]))) as zipped:
        assert zipped.testzip() is None
        assert {name: zipped.read(name) for name in zipped.namelist()} == {
            "1.dcm": b"1.dcm", "2": b"2",
        }  # fmt: skip


def test_beside_a_volume_nothing_is_said_of_photos(opened: Page) -> None:
    expect(opened.locator(".pm-privacy")).to_contain_text("Volumes that you send are removed when")
    for text in ("Send originals", "Photos that you send"):
        expect(opened.get_by_text(text)).to_be_hidden()

    opened.locator('.pm-chooser input[value="toy"]').check(force=True)
    expect(opened.get_by_text("Send originals")).to_be_visible()


def test_a_model_of_volumes_asks_for_a_volume_and_offers_one(page: Page) -> None:
    asks = page.locator(".samples span")
    expect(asks).to_have_text("No photo? Try one of these.")

    page.locator('.pm-chooser input[value="toyvolume"]').check(force=True)

    expect(asks).to_have_text("No volume? Try this one.")
    said = page.evaluate(
        """async () => (await import("/static/progress.js")).sentence(
            { phase: "hashing", photo: { volumeType: "application/zip" } })"""
    )
    assert said == "Reading the volume"
