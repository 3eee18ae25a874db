"""Cancel, delete, deadlines, interest and Idempotency-Key through the real thing."""

import io
import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from PIL import Image
from stack import Stack

from storage import keys

PATIENCE_S = 20
_salts = itertools.count(1)


@pytest.fixture
def browser(stack: Stack) -> Iterator[httpx.Client]:
    """Somebody new, with a cookie jar."""
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        client.get("/api/v1/models")
        yield client


@pytest.fixture
def photo() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (9, next(_salts) % 256, 7)).save(out, "PNG")
    return out.getvalue()


Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(browser: httpx.Client, photo: bytes) -> Ask:
    """Asks for slow work on a photo; answers the job."""

    def asked(headers: dict[str, str] | None = None, **query: object) -> dict[str, Any]:
        params = {"wait": 0, "salt": next(_salts), **query}
        answer = browser.post("/api/v1/predict/slow", content=photo, params=params, headers=headers)
        assert answer.status_code in (200, 202), answer.text
        return dict(answer.json())

    return asked


def job(browser: httpx.Client, id: str) -> dict[str, Any]:
    return dict(browser.get(f"/api/v1/jobs/{id}").json())


def until(browser: httpx.Client, id: str, *states: str) -> dict[str, Any]:
    """The job once it is in one of these states."""
    end = time.monotonic() + PATIENCE_S
    while (now := job(browser, id))["state"] not in states:
        assert time.monotonic() < end, now
        time.sleep(0.05)
    return now


def cancel(browser: httpx.Client, id: str) -> dict[str, Any]:
    answer = browser.post(f"/api/v1/jobs/{id}/cancel")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_job_is_cancelled_while_a_worker_is_at_it(browser: httpx.Client, ask: Ask) -> None:
    id = ask(prepare_s=1.5)["id"]
    until(browser, id, "preprocessing")

    assert cancel(browser, id)["state"] == "cancelling"
    ended = until(browser, id, "cancelled")
    assert (ended["result"], ended["error"]) == (None, None)


def test_a_job_is_cancelled_while_the_device_is_at_it(browser: httpx.Client, ask: Ask) -> None:
    id = ask(device_s=1.5)["id"]
    until(browser, id, "inferring")

    assert cancel(browser, id)["state"] in ("cancelling", "cancelled")
    assert until(browser, id, "cancelled")


@pytest.mark.measures_time
def test_what_waits_for_the_device_is_cancelled_before_its_turn(
    browser: httpx.Client, ask: Ask
) -> None:
    first = ask(device_s=3)["id"]
    until(browser, first, "inferring")
    second = ask(device_s=15)["id"]
    until(browser, second, "inferring")
    third = ask(device_s=0.1)["id"]
    began = time.monotonic()

    cancel(browser, second)

    assert until(browser, third, "done")
    assert time.monotonic() - began < 12, "it did not wait for what was cancelled"
    assert until(browser, second, "cancelled")


def test_the_other_of_two_equal_jobs_goes_on(browser: httpx.Client, ask: Ask) -> None:
    jobs = [ask(prepare_s=1, salt=-1)["id"] for _ in range(2)]

    assert cancel(browser, jobs[0])["state"] == "cancelled"
    assert until(browser, jobs[1], "done")


def test_cancelling_what_has_ended_answers_how_it_ended(browser: httpx.Client, ask: Ask) -> None:
    id = ask(wait=30)["id"]

    assert cancel(browser, id)["state"] == "done"


@pytest.mark.parametrize(("method", "path"), [("POST", "/cancel"), ("DELETE", "")])
def test_anothers_job_is_404(
    browser: httpx.Client, ask: Ask, stack: Stack, method: str, path: str
) -> None:
    id = ask(wait=30)["id"]
    with httpx.Client(base_url=stack.url) as other:
        assert other.request(method, f"/api/v1/jobs/{id}{path}").status_code == 404
        assert other.request(method, f"/api/v1/jobs/made-up{path}").status_code == 404

    assert job(browser, id)["state"] == "done"


def test_a_deleted_job_its_result_and_its_upload_are_gone(
    browser: httpx.Client, photo: bytes
) -> None:
    done = browser.post("/api/v1/predict/toy", content=photo, params={"wait": 60}).json()
    picture = done["result"]["objects"]["preview"]["url"]
    before = httpx.get(picture).status_code

    answer = browser.delete(f"/api/v1/jobs/{done['id']}")

    assert (before, answer.status_code) == (200, 204)
    assert browser.get(f"/api/v1/jobs/{done['id']}").status_code == 404
    assert httpx.get(picture).status_code == 404
    again = browser.post("/api/v1/predict/toy", content=photo, params={"wait": 60}).json()
    assert not again["cached"]


def test_a_shared_result_outlives_one_of_its_jobs(browser: httpx.Client, photo: bytes) -> None:
    first, second = (
        browser.post("/api/v1/predict/toy", content=photo, params={"wait": 60}).json()
        for _ in range(2)
    )

    browser.delete(f"/api/v1/jobs/{first['id']}")

    kept = job(browser, second["id"])
    assert httpx.get(kept["result"]["objects"]["preview"]["url"]).status_code == 200


def test_a_job_expires_while_it_waits(browser: httpx.Client, ask: Ask) -> None:
    id = ask(prepare_s=6, deadline_s=1)["id"]

    ended = until(browser, id, "failed")

    assert ended["error"]["code"] == "expired"
    assert "deadline" in ended["error"]["message"]


def test_an_expired_job_answers_503_to_whoever_waits(browser: httpx.Client, photo: bytes) -> None:
    answer = browser.post(
        "/api/v1/predict/slow",
        content=photo,
        params={"wait": 10, "prepare_s": 6, "deadline_s": 1, "salt": next(_salts)},
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "expired")
    assert answer.headers["retry-after"]


def test_nobody_looks_and_the_job_is_cancelled(
    browser: httpx.Client, ask: Ask, stack: Stack
) -> None:
    id = ask(prepare_s=4, keep=False)["id"]
    stack.state.zadd(keys.KEEP_ALIVES, {id: 1}, xx=True)  # as if 30 s had passed

    end = time.monotonic() + PATIENCE_S
    while stack.state.hget(keys.job(id), "state") not in (b"cancelling", b"cancelled"):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_stream_keeps_a_job_alive(browser: httpx.Client, ask: Ask, stack: Stack) -> None:
    id = ask(prepare_s=4, keep=False)["id"]
    last = ""
    with browser.stream("GET", f"/api/v1/jobs/{id}/events") as events:
        for line in events.iter_lines():
            stack.state.zadd(keys.KEEP_ALIVES, {id: time.time() * 1000 + 2500}, xx=True, lt=True)
            last = line if line.startswith("data:") else last

    assert '"state":"done"' in last


def test_twenty_equal_posts_with_one_key_are_one_job(browser: httpx.Client, ask: Ask) -> None:
    headers = {"Idempotency-Key": f"once-{time.time_ns()}"}
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(ask, headers, prepare_s=0.3, salt=-7) for _ in range(20)]
        ids = {answer.result()["id"] for answer in asked}

    assert len(ids) == 1


def test_another_request_with_the_same_key_is_refused(browser: httpx.Client, photo: bytes) -> None:
    headers = {"Idempotency-Key": f"once-{time.time_ns()}"}
    first, other = (
        browser.post(
            "/api/v1/predict/slow",
            content=photo,
            params={"wait": 0, "salt": next(_salts)},
            headers=headers,
        )
        for _ in range(2)
    )

    assert first.status_code == 202
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_mismatch")
