"""GET /jobs through the real thing: pages, filters, and nobody else's jobs."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import httpx
import pytest
from fresh import fresh_photo
from stack import Stack

from storage import keys

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


def lifetime_s(job: dict[str, Any]) -> float:
    """From a job's request until it leaves the history."""
    expires, created = (datetime.fromisoformat(job[name]) for name in ("expires", "created"))
    return (expires - created).total_seconds()


def test_pages_of_the_history_have_each_job_as_it_is(browser: httpx.Client) -> None:
    jobs = [done(browser) for _ in range(3)]

    first = browser.get(f"{JOBS}?limit=2").json()
    second = browser.get(f"{JOBS}?limit=2&cursor={first['next']}").json()

    assert [job["id"] for job in first["jobs"]] == [jobs[2]["id"], jobs[1]["id"]]
    assert [job["id"] for job in second["jobs"]] == [jobs[0]["id"]] and second["next"] is None
    assert lifetime_s(first["jobs"][0]) == pytest.approx(7 * 86_400, abs=60)
    assert browser.get("/api/v1/me").json()["kept"]["results_s"] == 7 * 86_400
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


def test_a_photo_is_found_by_its_name_which_goes_with_its_job(browser: httpx.Client) -> None:
    photo = fresh_photo()
    sent = {"image": ("Ada's Cat.png", photo, "image/png")}
    job = browser.post("/api/v1/predict/toy?wait=60", files=sent).json()
    renamed = {"sha256": sha256(photo).hexdigest(), "model": "toy", "name": "photos/Chelsea.png"}
    other = browser.post(JOBS, json=renamed).json()

    assert (job["name"], other["name"], other["cached"]) == ("Ada's Cat.png", "Chelsea.png", True)
    assert listed(browser, name="cat") == [job["id"]]
    assert listed(browser, name="C") == [other["id"], job["id"]]
    browser.delete(f"{JOBS}/{job['id']}").raise_for_status()
    assert listed(browser, name="cat") == []


def test_a_job_names_its_upload_for_others_also_where_it_was_known(browser: httpx.Client) -> None:
    photo = fresh_photo()
    first = browser.post("/api/v1/predict/toy?wait=60", content=photo).json()
    known = browser.post(JOBS, json={"sha256": sha256(photo).hexdigest(), "model": "toy"}).json()
    listing = browser.get(JOBS).json()["jobs"]

    uploads = {job["id"]: job["upload"] for job in listing}
    assert known["cached"] and uploads[known["id"]] == uploads[first["id"]] == first["upload"]
    asked = {"upload": uploads[known["id"]], "model": "toy", "params": {"gain": 3}}
    again = browser.post(f"{JOBS}?wait=60", json=asked).json()
    assert again["state"] == "done" and again["result"]["objects"]


def test_a_job_that_has_ended_says_when_it_is_forgotten(
    browser: httpx.Client, stack: Stack
) -> None:
    job = done(browser)

    kept_s = stack.state.pttl(keys.job(job["id"])) / 1000
    left_s = (datetime.fromisoformat(job["expires"]) - datetime.now(UTC)).total_seconds()
    assert abs(left_s - kept_s) < 10


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
