"""Requests for new work are refused while there is too much of it; all others are served."""

import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from stack import free_port
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from web.jobs.admission import crowded
from web.middleware.load_shedding import LoadShedding

WORK = ("/api/v1/jobs", "/api/v1/predict/matting")
APP: ASGIApp = PlainTextResponse("served")
MIB = 2**20


def full() -> None:
    raise crowded("in_progress", 64)


def not_full() -> None:
    pass


async def status(middleware: LoadShedding, method: str, path: str) -> int:
    transport = httpx.ASGITransport(middleware)
    async with httpx.AsyncClient(transport=transport, base_url="http://mill") as client:
        return (await client.request(method, path)).status_code


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A real server that refuses all new work."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(LoadShedding(APP, full), port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    end = time.monotonic() + 10
    while not server.started and time.monotonic() < end:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("path", WORK)
async def test_a_request_for_work_is_refused_under_overload(path: str) -> None:
    assert await status(LoadShedding(APP, full), "POST", path) == 429


@pytest.mark.parametrize("path", WORK)
async def test_a_request_for_work_is_served_otherwise(path: str) -> None:
    assert await status(LoadShedding(APP, not_full), "POST", path) == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/v1/jobs/1"), ("POST", "/api/v1/jobs/1/cancel"), ("POST", "/api/v1/uploads"),
     ("GET", "/api/v1/models"), ("GET", "/healthz")],
)  # fmt: skip
async def test_all_other_requests_are_served_under_overload(method: str, path: str) -> None:
    assert await status(LoadShedding(APP, full), method, path) == 200


def test_a_refusal_names_its_limit_and_when_to_retry(url: str) -> None:
    answer = httpx.post(f"{url}/api/v1/jobs")

    error = answer.json()["error"]
    assert answer.headers["retry-after"] == "1"
    assert (error["code"], error["limit"], error["value"]) == ("busy", "in_progress", 64)
    assert error["retry_after_s"] == 1 and "64" in error["message"]


def test_who_is_still_sending_a_photo_can_read_the_refusal_and_ask_again(url: str) -> None:
    with httpx.Client() as client:
        answers = [
            client.post(f"{url}/api/v1/predict/matting", content=bytes(20 * MIB)) for _ in range(3)
        ]
        models = client.get(f"{url}/api/v1/models")

    assert [answer.status_code for answer in answers] == [429, 429, 429]
    assert models.text == "served"
