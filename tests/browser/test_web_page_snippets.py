"""What `For programs` shows works as it is pasted."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from actions import drawn, pick
from PIL import Image
from playwright.sync_api import Page, Route, expect
from stack import REPOSITORY

ASTRONAUT = REPOSITORY / "examples" / "astronaut.jpg"
PROGRAMS = {
    "curl": ["bash"],
    "Python": [sys.executable, "-"],
    "JavaScript": ["node", "--input-type=module"],
}
IN_BROWSER = """async ({ code, photo }) => {
    const readFile = async () => (await fetch(photo)).blob();
    let saved;
    const writeFile = async (name, bytes) => (saved = [...new Uint8Array(bytes)]);
    const body = code.replace(/^import .*$/m, "");
    const run = new (async () => {}).constructor("readFile", "writeFile", "Buffer", body);
    await run(readFile, writeFile, { from: (bytes) => bytes });
    return saved;
}"""
"""Runs the JavaScript where there is no Node, with files that are not files."""


def show(page: Page, name: str) -> str:
    """The program as the page shows it."""
    page.locator(".programs").get_by_role("button", name=name, exact=True).click()
    return page.locator(".programs pre").inner_text()


def run(page: Page, name: str, code: str, folder: Path) -> Image.Image:
    """The picture that a pasted program saves."""
    shutil.copy(ASTRONAUT, folder / "photo.jpg")
    saved = folder / "photo-cutout.png"
    saved.unlink(missing_ok=True)
    if name == "JavaScript" and not shutil.which("node"):
        asked = {"code": code, "photo": "/examples/astronaut.jpg"}
        saved.write_bytes(bytes(page.evaluate(IN_BROWSER, asked)))
    else:
        env = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        subprocess.run(PROGRAMS[name], input=code, text=True, cwd=folder, env=env, check=True)
    with Image.open(saved) as picture:
        return picture.copy()


def test_each_program_saves_the_picture_that_the_page_shows(page: Page, tmp_path: Path) -> None:
    pick(page, ASTRONAUT)
    drawn(page)
    page.get_by_title("White").click()
    page.get_by_text("For programs").click()

    for name in PROGRAMS:
        code = show(page, name)
        assert "Authorization" not in code, "open mode asks for no key"
        picture = run(page, name, code, tmp_path).convert("RGBA")
        assert (picture.size, picture.getpixel((480, 30))) == ((512, 512), (255, 255, 255, 255)), (
            name
        )


def test_where_people_sign_in_programs_get_a_key_that_is_made_on_the_spot(
    page: Page, tmp_path: Path
) -> None:
    def signed_in(route: Route) -> None:
        me = route.fetch().json()
        route.fulfill(body=json.dumps({**me, "kind": "account"}))

    page.route("**/api/v1/me", signed_in)
    pick(page, ASTRONAUT)
    drawn(page)
    page.get_by_text("For programs").click()
    assert "Bearer YOUR_API_KEY" in show(page, "Python")

    page.get_by_role("button", name="Make a key").click()
    expect(page.locator(".programs pre")).to_contain_text("Bearer pm_")

    for name in PROGRAMS:
        assert run(page, name, show(page, name), tmp_path).size == (512, 512), name
