"""Numbers for Prometheus, of a whole installation: web's out of Redis, each worker's its own."""

import re
import time

import httpx
import pytest
from stack import API_KEY, Stack


def value(text: str, name: str, **labels: str) -> float | None:
    """One sample of a scrape."""
    for line in text.splitlines():
        found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if found and found[1] == name:
            has = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
            if labels.items() <= has.items():
                return float(found[3])
    return None


@pytest.fixture(scope="module")
def scrape(stack: Stack) -> str:
    """What web shows after a job of the no-op model."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    path = f"{stack.url}/api/v1/predict/noop?wait=60&salt={time.time_ns() % 10**9}"
    photo = (__file__.rsplit("/tests/", 1)[0]) + "/examples/coffee.jpg"
    with open(photo, "rb") as file:
        answer = httpx.post(path, headers=headers, content=file.read(), timeout=90)
    assert answer.json()["state"] == "done", answer.text
    return httpx.get(f"{stack.url}/metrics").raise_for_status().text


def test_ended_runs_are_counted(scrape: str) -> None:
    assert (value(scrape, "pixelmill_runs_total", model="noop", state="done") or 0) >= 1


@pytest.mark.parametrize("stage", ["queued", "preprocess", "inference", "postprocess"])
def test_every_stage_has_a_histogram_of_its_time(scrape: str, stage: str) -> None:
    of = {"model": "noop", "stage": stage}
    ends = value(scrape, "pixelmill_runs_total", model="noop", state="done")

    assert value(scrape, "pixelmill_stage_seconds_count", **of) == ends
    assert value(scrape, "pixelmill_stage_seconds_bucket", le="+Inf", **of) == ends
    assert (value(scrape, "pixelmill_stage_seconds_sum", **of) or 0) > 0


def test_claims_are_counted_by_what_became_of_them(scrape: str) -> None:
    assert (value(scrape, "pixelmill_claims_total", model="noop", verdict="lead") or 0) >= 1


def test_a_workers_counter_is_on_its_own_scrape(stack: Stack, scrape: str) -> None:
    workers = httpx.get(f"{stack.url}/metrics/workers").raise_for_status().json()
    shown = {worker["labels"]["kind"]: worker["targets"][0] for worker in workers}
    texts = {kind: httpx.get(f"http://{at}/metrics").text for kind, at in shown.items()}

    counter = "pixelmill_worker_messages_total"
    assert (value(texts["cpu"], counter, stage="preprocess") or 0) >= 1, "of a forked child"
    assert (value(texts["gpu"], counter, stage="inference") or 0) >= 1
    assert (value(texts["gpu"], "pixelmill_device_total", what="batches") or 0) >= 1


@pytest.mark.parametrize("headers", [{"Host": "mill.example.com"}, {"X-Forwarded-For": "10.0.0.7"}])
def test_through_a_proxy_numbers_need_a_key(stack: Stack, headers: dict[str, str]) -> None:
    url = f"{stack.url}/metrics"

    assert httpx.get(url, headers=headers).status_code == 401
    key = {"Authorization": f"Bearer {API_KEY}"}
    assert httpx.get(url, headers=headers | key).status_code == 200
    assert httpx.get(url, headers=headers | {"Authorization": "Bearer no"}).status_code == 401


def test_no_user_is_in_the_numbers(scrape: str) -> None:
    assert "tester" not in scrape
