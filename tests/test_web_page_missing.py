"""What is answered at an address where there is nothing: a page to people, JSON to programs."""

import httpx
import pytest
from fastapi import FastAPI

from web.errors import add_handlers
from web.page import missing

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def asked(path: str, accept: dict[str, str]) -> httpx.Response:
    app = FastAPI()
    add_handlers(app, missing.page)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://web") as client:
        return await client.get(path, headers=accept)


async def test_a_person_is_led_to_the_page() -> None:
    answer = await asked("/<b>lost", BROWSER)

    assert answer.status_code == 404
    assert 'href="/ui/"' in answer.text and "&lt;b&gt;lost" in answer.text


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/lost", {"accept": "*/*"}),
        ("/api/v1/lost", BROWSER),
    ],
)
async def test_a_program_gets_the_error_as_json(path: str, accept: dict[str, str]) -> None:
    answer = await asked(path, accept)

    assert answer.status_code == 404 and answer.json()["error"]["code"] == "not_found"
