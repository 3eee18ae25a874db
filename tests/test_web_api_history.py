"""GET /jobs through the real thing: pages, filters, and nobody else's jobs."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from fresh import fresh_photo
from stack import Stack

JOBS = "/api/v1/jobs"


@pytest.fixture
def browser(stack: Stack) -> Iterator[httpx.Client]:
    """Somebody new, with a cookie jar."""
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        yield client


def done(client: httpx.Client, model: str = "toy") -> dict[str, Any]:
    """A job on a new photo, once it has ended."""
    answer = client.post(f"/api/v1/predict/{model}?wait=60", content=fresh_photo())
    job: dict[str, Any] = answer.raise_for_status().json()
    return job


def listed(client: httpx.Client, **query: object) -> list[str]:
    answer = client.get(JOBS, params=query).raise_for_status().json()  # type: ignore[arg-type]  # httpx takes lists
    assert answer["next"] is None
    return [job["id"] for job in answer["jobs"]]


def test_pages_of_the_history_have_each_job_as_it_is(browser: httpx.Client) -> None:
    jobs = [done(browser) for _ in range(3)]

    first = browser.get(f"{JOBS}?limit=2").json()
    second = browser.get(f"{JOBS}?limit=2&cursor={first['next']}").json()

    assert [job["id"] for job in first["jobs"]] == [jobs[2]["id"], jobs[1]["id"]]
    assert [job["id"] for job in second["jobs"]] == [jobs[0]["id"]] and second["next"] is None
    assert first["jobs"][0]["result"]["objects"].keys() == jobs[2]["result"]["objects"].keys()


def test_the_history_is_filtered_by_state_model_and_time(browser: httpx.Client) -> None:
    first, second = done(browser), done(browser, "matting")
    failed = browser.post("/api/v1/predict/toy?wait=60", content=b"\x89PNG\r\n\x1a\n" + bytes(30))
    made = datetime.fromisoformat(second["created"])
    later = (made + timedelta(milliseconds=1)).isoformat()

    assert failed.status_code in (415, 422)
    assert listed(browser, model="matting") == [second["id"]]
    assert listed(browser, model=["matting", "toy"], state="done") == [second["id"], first["id"]]
    assert listed(browser, state=["failed", "queued"]) == []
    assert listed(browser, since=second["created"]) == [second["id"]]
    assert listed(browser, until=second["created"]) == [first["id"]]
    assert listed(browser, since=later) == []


def test_the_history_of_another_user_is_empty(browser: httpx.Client, stack: Stack) -> None:
    done(browser)

    with httpx.Client(base_url=stack.url) as other:
        assert listed(other) == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=51",
        "state=lost",
        "since=yesterday",
        "until=0.5",
        "since=5",
        "cursor=x",
        "cursor=-1",
    ],
)
def test_a_wrong_filter_is_told_so(browser: httpx.Client, query: str) -> None:
    answer = browser.get(f"{JOBS}?{query}")

    assert answer.status_code == 422 and answer.json()["error"]["code"] == "bad_request"
