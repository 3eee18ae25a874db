"""The page for everybody: axe finds nothing, in light and dark, in every state of a result."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from actions import as_file, bottle, drawn, pick
from playwright.sync_api import Page, expect

from web import words

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
EXAMPLES = Path(__file__).parent.parent.parent / "examples"
CHINESE = json.loads((words._FOLDER / "zh.json").read_bytes())["texts"]
LANGUAGES: dict[str, Callable[[str], str]] = {"en": str, "zh": CHINESE.__getitem__}


def violations(page: Page) -> list[Any]:
    """What axe finds, as the rule's name and the elements."""
    page.evaluate(AXE.read_text())  # which the policy of the page does not hold up
    return found(page)


def found(page: Page) -> list[Any]:
    """The same, on a page that has axe."""
    return list(
        page.evaluate(
            """async () => {
                const { violations } = await axe.run(document, { resultTypes: ["violations"] });
                return violations.map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html)]);
            }"""
        )
    )


@pytest.mark.parametrize("looks", [{"viewport": {"width": 390, "height": 844}}])
def test_axe_finds_nothing_on_the_small_pages(page: Page, stack: Any):
    for path in ("/login", "/logout", "/account", "/account/keys", "/account/data"):
        for scheme, language in (("light", "en"), ("dark", "zh")):
            page.goto(f"{stack.url}{path}?lang={language}")
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two
            assert violations(page) == [], (path, scheme)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= 390, (path, language)


def test_the_small_pages_follow_the_switch_of_the_page(page: Page, stack: Any):
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    page.get_by_role("button", name="Switch between light and dark").click()

    for path, dark in (("/account/data", "rgb(19, 22, 21)"), ("/docs", "rgb(26, 26, 26)")):
        page.goto(f"{stack.url}{path}")
        assert page.evaluate(ground) == dark, path

    page.goto(f"{stack.url}/ui/")
    expect(page.locator("body.dark")).to_have_count(1)


@pytest.mark.parametrize(("scheme", "language"), [("light", "en"), ("dark", "zh")])
@pytest.mark.parametrize("looks", [{"viewport": {"width": 390, "height": 844}}])
def test_axe_finds_nothing_in_any_state(page: Page, stack: Any, scheme: Any, language: str):
    text = LANGUAGES[language]
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{stack.url}/ui/?lang={language}")
    page.wait_for_selector(".pm-chooser :checked")
    assert violations(page) == []

    pick(page, as_file(bottle(), "PNG"), {"name": "a.jpg", "mimeType": "", "buffer": b"no photo"})
    expect(page.locator(".strip [data-phase=done]")).to_have_count(1)
    drawn(page)
    page.get_by_label(text("To subject")).check()
    page.get_by_text(text("Edge and shadow"), exact=True).click()
    page.get_by_role("slider", name=text("Strength")).fill("0.5")
    assert violations(page) == []

    page.get_by_role("button", name=text("Brush")).click()
    assert violations(page) == []


def test_every_sample_is_small_until_it_is_chosen(page: Page):
    expect(page.locator(".samples img")).to_have_count(4)
    page.wait_for_function(
        """() => [...document.querySelectorAll(".samples img")]
            .every(({ complete, naturalWidth }) => complete && naturalWidth)"""
    )

    loaded = page.evaluate(
        """() => performance.getEntriesByType("resource")
            .filter(({ name }) => /examples|samples/.test(name))
            .map(({ encodedBodySize }) => encodedBodySize)"""
    )

    assert len(loaded) == 4
    assert max(loaded) < 5000


def test_opening_the_page_loads_little(page: Page):
    page.wait_for_timeout(1000)  # samples, and what is loaded last

    loaded = page.evaluate(
        """() => ["navigation", "resource"]
            .flatMap((kind) => performance.getEntriesByType(kind))
            .reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0)"""
    )

    assert loaded <= 285_000


def test_a_zoomed_photo_is_drawn_from_its_own_pixels(page: Page):
    stripes = bottle().resize((2400, 3200))
    for y in range(0, 3200, 2):
        stripes.paste((0, 0, 0), (0, y, 2400, y + 1))
    pick(page, as_file(stripes, "PNG"))
    drawn(page)

    for _ in range(4):
        page.get_by_role("button", name="Zoom in").click()

    page.wait_for_selector(".pan > .tile:not([hidden])")
    contrast = page.evaluate(
        """() => {
            const tile = document.querySelector(".pan > .tile");
            const { data } = tile.getContext("2d").getImageData(20, 0, 1, tile.height);
            const reds = Array.from({ length: tile.height }, (_, i) => data[4 * i]);
            return Math.max(...reds) - Math.min(...reds);
        }"""
    )
    assert contrast > 150, "stripes of one pixel, which the whole picture on the screen cannot show"


def test_the_radio_buttons_of_an_option_are_one_group_with_its_name(page: Page):
    page.wait_for_function(
        """() => {
            const groups = [...document.querySelectorAll("#pm-options fieldset")].map((field) => [
                field.ariaLabel,
                ...new Set([...field.querySelectorAll("[type=radio]")].map(({ name }) => name)),
            ]);
            const [[effort, first, ...others], [subjects, second, ...more]] = [...groups, [], []];
            return effort === "Effort" && subjects === "Subjects"
                && first && second && first !== second && !others.length && !more.length;
        }"""
    )
