"""Links to pictures through the real thing: what they show, to whom, and when they end."""

import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fresh import fresh_photo
from stack import Stack

from storage import keys
from web.jobs.shares import TOKEN


@pytest.fixture
def browser(stack: Stack) -> Iterator[httpx.Client]:
    """Somebody new, with a cookie jar."""
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        yield client


@pytest.fixture
def job(browser: httpx.Client) -> dict[str, Any]:
    """A job of theirs that is done, with a picture."""
    answer = browser.post("/api/v1/predict/toy?wait=60", content=fresh_photo())
    done: dict[str, Any] = answer.raise_for_status().json()
    return done


def shared(client: httpx.Client, job: dict[str, Any], **asked: object) -> httpx.Response:
    body = {"object": next(iter(job["result"]["objects"])), **asked}
    return client.post(f"/api/v1/jobs/{job['id']}/shares", json=body)


def test_whoever_has_the_link_sees_the_picture_and_nothing_of_whose_it_is(
    stack: Stack, browser: httpx.Client, job: dict[str, Any]
) -> None:
    share = shared(browser, job).raise_for_status().json()
    [image] = [image for name, image in job["result"]["objects"].items() if name == share["object"]]
    user = (stack.state.hget(keys.job(job["id"]), "user") or b"").decode()  # type: ignore[union-attr]  # bytes

    seen = httpx.get(share["url"])

    assert seen.status_code == 200 and seen.content == httpx.get(image["url"]).content
    assert seen.headers["content-type"] == image["type"]
    assert "set-cookie" not in seen.headers and "sandbox" in seen.headers["content-security-policy"]
    for text in (share["url"], str(seen.headers)):
        assert user not in text and job["id"] not in text


def test_a_link_opens_nothing_else(
    stack: Stack, browser: httpx.Client, job: dict[str, Any]
) -> None:
    token = shared(browser, job).json()["url"].rpartition("/")[2]
    changed = ("0" if token[0] != "0" else "1") + token[1:]

    assert re.fullmatch(TOKEN, token)
    for other in (changed, token[:-1] + ("A" if token[-1] != "A" else "B"), token[:32], token * 2):
        assert httpx.get(f"{stack.url}/s/{other}").status_code == 404
    assert httpx.get(f"{stack.url}/s/{token}/alpha").status_code == 404
    as_key = httpx.get(
        f"{stack.url}/api/v1/jobs/{job['id']}", headers={"authorization": f"Bearer {token}"}
    )
    assert as_key.status_code == 401


def test_a_revoked_link_shows_nothing_at_once(browser: httpx.Client, job: dict[str, Any]) -> None:
    share, other = (shared(browser, job).json() for _ in range(2))

    revoked = browser.delete(f"/api/v1/shares/{share['id']}")

    assert revoked.status_code == 204
    assert httpx.get(share["url"]).json()["error"]["code"] == "no_share"
    assert httpx.get(other["url"]).status_code == 200
    assert [item["id"] for item in browser.get("/api/v1/shares").json()["shares"]] == [other["id"]]
    assert browser.delete(f"/api/v1/shares/{share['id']}").status_code == 404


def test_a_link_ends_when_it_expires(browser: httpx.Client, job: dict[str, Any]) -> None:
    share = shared(browser, job, expires_s=1).json()
    time.sleep(1.2)

    assert httpx.get(share["url"]).status_code == 404


def test_the_links_of_a_job_end_with_it(browser: httpx.Client, job: dict[str, Any]) -> None:
    share = shared(browser, job).json()

    browser.delete(f"/api/v1/jobs/{job['id']}").raise_for_status()

    assert httpx.get(share["url"]).status_code == 404
    assert browser.get("/api/v1/shares").json() == {"shares": []}


def test_others_can_neither_link_to_a_job_nor_see_or_end_its_links(
    stack: Stack, browser: httpx.Client, job: dict[str, Any]
) -> None:
    share = shared(browser, job).json()

    with httpx.Client(base_url=stack.url) as other:
        assert shared(other, job).status_code == 404
        assert other.get("/api/v1/shares").json() == {"shares": []}
        assert other.delete(f"/api/v1/shares/{share['id']}").status_code == 404
    assert httpx.get(share["url"]).status_code == 200


@pytest.mark.parametrize(
    ("asked", "status"),
    [({"object": "none"}, 404), ({"expires_s": 0}, 422), ({"user": "ada"}, 422)],
)
def test_what_cannot_be_shared_is_told_so(
    browser: httpx.Client, job: dict[str, Any], asked: dict[str, object], status: int
) -> None:
    answer = shared(browser, job, **asked)

    assert answer.status_code == status and answer.json()["error"]["message"]
