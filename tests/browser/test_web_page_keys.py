"""In a real browser: what is left of one's quotas, and API keys that are made and revoked."""

import re

import httpx
from playwright.sync_api import Page, expect
from stack import REPOSITORY, Stack

from storage import quotas
from storage.redis.calls import SyncRedis

ASTRONAUT = REPOSITORY / "examples" / "astronaut.jpg"


def test_the_page_says_before_and_after_a_photo_what_is_left(stack: Stack, page: Page) -> None:
    line = page.locator(".pm-runbar .quota")
    expect(line).to_be_hidden()
    user = page.request.get(f"{stack.url}/api/v1/me").json()["user"]
    SyncRedis(stack.state).do(quotas.set_own(user, "images_per_hour", 5))

    page.reload()
    expect(line).to_have_text("5 of 5 photos left this hour")
    page.locator("input[type=file]").first.set_input_files(ASTRONAUT)

    expect(line).to_have_text("4 of 5 photos left this hour")


def test_a_key_is_made_used_and_revoked_on_the_page(stack: Stack, page: Page) -> None:
    page.get_by_role("link", name="Account").click()
    page.get_by_role("link", name="API keys").click()
    page.get_by_label("Name").fill("laptop")
    page.get_by_role("button", name="Make a key").click()
    secret = page.locator("[role=status] code").inner_text()
    headers = {"Authorization": f"Bearer {secret}"}

    me = httpx.get(f"{stack.url}/api/v1/me", headers=headers).json()
    page.get_by_role("button", name="Revoke laptop").click()

    expect(page.get_by_text("You have none.")).to_be_visible()
    assert re.fullmatch(r"pm_[\w-]{43}", secret)
    assert me["scopes"] == ["run", "read"]
