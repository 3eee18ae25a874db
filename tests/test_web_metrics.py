"""Numbers for Prometheus, of a whole installation: web's out of Redis, each worker's its own."""

import json
import os
import re
import shutil
import subprocess
import time
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from stack import API_KEY, REPOSITORY, Stack

from storage import keys


def value(text: str, name: str, **labels: str) -> float | None:
    """One sample of a scrape."""
    for line in text.splitlines():
        match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if match and match[1] == name:
            has = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            if labels.items() <= has.items():
                return float(match[3])
    return None


PATIENCE_S = 60.0


def predict(stack: Stack, model: str, **query: object) -> dict[str, Any]:
    """The job of a photo that this model is given."""
    answer = httpx.post(
        f"{stack.url}/api/v1/predict/{model}",
        params={name: str(value) for name, value in query.items()},
        headers={"Authorization": f"Bearer {API_KEY}"},
        content=(REPOSITORY / "examples" / "coffee.jpg").read_bytes(),
        timeout=90,
    )
    job: dict[str, Any] = answer.raise_for_status().json()
    return job


def scrape_of(stack: Stack) -> str:
    """What web shows now."""
    return httpx.get(f"{stack.url}/metrics").raise_for_status().text


@pytest.fixture(scope="module")
def salt() -> int:
    """What makes these tests' requests new."""
    return time.time_ns() % 10**9


@pytest.fixture(scope="module")
def scrape(stack: Stack, salt: int) -> str:
    """What web shows after a job of the no-op model and the same once more."""
    jobs = [predict(stack, "noop", wait=60, salt=salt) for _ in range(2)]
    assert [(job["state"], job["cached"]) for job in jobs] == [("done", False), ("done", True)]
    return scrape_of(stack)


@pytest.fixture(scope="module")
def of_workers(stack: Stack, scrape: str) -> dict[str, str]:
    """What each kind of worker shows after that."""
    workers = httpx.get(f"{stack.url}/metrics/workers").raise_for_status().json()
    shown = {worker["labels"]["kind"]: worker["targets"][0] for worker in workers}
    return {kind: httpx.get(f"http://{at}/metrics").text for kind, at in shown.items()}


def test_ended_runs_are_counted(scrape: str) -> None:
    assert (value(scrape, "pixelmill_runs_total", model="noop", state="done") or 0) >= 1


@pytest.mark.parametrize("stage", ["queued", "preprocess", "inference", "postprocess"])
def test_every_stage_has_a_histogram_of_its_time(scrape: str, stage: str) -> None:
    of = {"model": "noop", "stage": stage}
    ends = value(scrape, "pixelmill_runs_total", model="noop", state="done")

    assert value(scrape, "pixelmill_stage_seconds_count", **of) == ends
    assert value(scrape, "pixelmill_stage_seconds_bucket", le="+Inf", **of) == ends
    assert (value(scrape, "pixelmill_stage_seconds_sum", **of) or 0) > 0


def test_the_time_that_users_wait_is_shown_in_seconds_that_limits_are_set_in(scrape: str) -> None:
    of = {"model": "noop", "priority": "interactive"}
    bounds = {value(scrape, "pixelmill_job_seconds_bucket", **of, le=s) for s in ("0.25", "0.5",
              "1", "2", "5")}  # fmt: skip

    assert None not in bounds
    counts = [  # other tests have asked this installation too, and some of them in batches
        value(scrape, "pixelmill_job_seconds_count", model="noop", priority=priority) or 0
        for priority in ("interactive", "batch")
    ]
    ends = [
        value(scrape, "pixelmill_runs_total", model="noop", state=state) or 0
        for state in ("done", "failed")
    ]
    assert sum(counts) == sum(ends) > 0
    of_profile = {"model": "matting", "priority": "batch", "profile": "fast"}
    assert value(scrape, "pixelmill_job_seconds_count", **of_profile) == 0


def test_runs_and_failures_name_the_version_of_the_model(scrape: str) -> None:
    for name in ("pixelmill_runs_total", "pixelmill_failures_total"):
        [version] = set(re.findall(rf'{name}{{.*model="noop".*version="([^"]*)"', scrape))
        assert re.fullmatch("[0-9a-f]{8}-[0-9a-f]{8}", version)


def test_the_workers_of_each_queue_are_counted(scrape: str) -> None:
    assert value(scrape, "pixelmill_workers", queue="cpu") == 1
    assert value(scrape, "pixelmill_workers", queue="gpu.noop") == 1


def test_users_and_what_they_send_are_counted(scrape: str) -> None:
    photo = (REPOSITORY / "examples" / "coffee.jpg").stat().st_size

    assert (value(scrape, "pixelmill_active_users") or 0) >= 1
    assert (value(scrape, "pixelmill_uploads_total") or 0) >= 1
    assert (value(scrape, "pixelmill_uploaded_bytes_total") or 0) >= photo
    assert value(scrape, "pixelmill_sent_bytes_total") is not None


def test_autoscalers_read_how_many_workers_a_model_needs_as_numbers_and_as_json(
    stack: Stack, scrape: str
) -> None:
    end = time.monotonic() + PATIENCE_S
    url = f"{stack.url}/metrics/scaling/noop"
    while (answer := httpx.get(url)).status_code == 503 and time.monotonic() < end:
        time.sleep(0.2)  # the pilot looks every few seconds

    said = answer.raise_for_status().json()
    assert said["workers_wanted"] >= 0 and said["wait_seconds"] >= 0
    text = scrape_of(stack)
    assert value(text, "pixelmill_workers_wanted", model="noop") is not None
    assert value(text, "pixelmill_wait_seconds", model="noop") is not None


def test_an_autoscaler_that_asks_wrongly_is_told_what_is_wrong(stack: Stack) -> None:
    url = f"{stack.url}/metrics/scaling"

    assert httpx.get(f"{url}/noopp").json()["error"]["code"] == "no_model"
    assert httpx.get(f"{url}/noop", headers={"X-Forwarded-For": "10.0.0.7"}).status_code == 401


def test_nothing_is_said_of_a_model_that_the_pilot_has_not_seen_of_late(stack: Stack) -> None:
    old = {"at_ms": 1, "scaling": {"workers_wanted": 9, "wait_s": 9}, "numbers": {}, "rules": {}}

    def says_nothing() -> bool:
        stack.state.hset(keys.PILOT_VIEWS, "noop", json.dumps(old))
        answer = httpx.get(f"{stack.url}/metrics/scaling/noop")
        wanted = value(scrape_of(stack), "pixelmill_workers_wanted", model="noop")
        return answer.status_code == 503 and wanted is None

    assert any(says_nothing() for _ in range(3)), "it may have looked in between"


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_finds_nothing_wrong_with_the_names(
    scrape: str, of_workers: dict[str, str]
) -> None:
    for text in (scrape, *of_workers.values()):
        lint = ["promtool", "check", "metrics"]
        checked = subprocess.run(lint, input=text, capture_output=True, text=True)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_whoever_accepts_openmetrics_gets_it(stack: Stack, scrape: str) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    text = httpx.get(f"{stack.url}/metrics", headers=accept).text

    families = {family.name for family in text_string_to_metric_families(text)}
    assert {"pixelmill_runs", "pixelmill_claims", "pixelmill_job_seconds"} <= families


def test_claims_are_counted_by_what_became_of_them(scrape: str) -> None:
    assert (value(scrape, "pixelmill_claims_total", model="noop", verdict="start") or 0) >= 1


def test_hits_are_counted_for_ever_and_in_their_minute(stack: Stack, scrape: str) -> None:
    hits = value(scrape, "pixelmill_hits_total", model="noop") or 0
    minutes = [
        key for key in stack.state.keys(f"{keys.METRICS_PREFIX}noop:*") if key[-4:] != b":all"
    ]

    assert hits >= 1
    assert sum(int(stack.state.hget(key, "hit") or 0) for key in minutes) == hits


@pytest.mark.parametrize("limit", ["in_flight", "waiting", "wait_ms", "scratch", "new_in_progress"])
def test_refusals_begin_at_zero_for_every_limit(scrape: str, limit: str) -> None:
    assert value(scrape, "pixelmill_refused_total", model="noop", limit=limit) is not None


@pytest.mark.parametrize("limit", ["in_progress", "bodies_mib"])
def test_refusals_before_routing_begin_at_zero(scrape: str, limit: str) -> None:
    assert value(scrape, "pixelmill_refused_total", model="", limit=limit) is not None


@pytest.mark.parametrize("verdict", ["hit", "failed", "join", "start", "busy"])
def test_claims_begin_at_zero(scrape: str, verdict: str) -> None:
    assert value(scrape, "pixelmill_claims_total", model="slow", verdict=verdict) is not None


@pytest.mark.parametrize("code", ["poison", "timeout", "expired", "unavailable", "model_failure"])
def test_failures_that_are_nobodys_pictures_begin_at_zero(scrape: str, code: str) -> None:
    assert value(scrape, "pixelmill_failures_total", model="noop", code=code) is not None


def test_answers_that_were_not_those_asked_for_are_counted(scrape: str) -> None:
    assert value(scrape, "pixelmill_redis_mismatches_total") == 0


def test_lost_leases_begin_at_zero(scrape: str) -> None:
    assert value(scrape, "pixelmill_leases_lost_total", model="noop") is not None


@pytest.mark.parametrize("queue", ["cpu", "gpu.noop", "post"])
def test_queues_in_which_no_run_waits_are_shown_as_empty(scrape: str, queue: str) -> None:
    of = {"model": "noop", "priority": "batch"}

    assert value(scrape, "pixelmill_queue_depth", **of, queue=queue) == 0
    assert value(scrape, "pixelmill_queue_oldest_seconds", **of, queue=queue) == 0
    assert value(scrape, "pixelmill_in_flight", **of, state="inferring") == 0


def test_queues_and_stages_are_shown_while_runs_are_in_them(stack: Stack, salt: int) -> None:
    """More runs than processes: some are prepared, the others wait."""
    for number in range((os.cpu_count() or 1) + 4):
        predict(stack, "slow", wait=0, prepare_s=2, salt=salt + number)
    of = {"model": "slow", "priority": "interactive"}

    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        text = scrape_of(stack)
        is_busy = value(text, "pixelmill_in_flight", **of, state="preprocessing")
        waits = value(text, "pixelmill_queue_depth", **of, queue="cpu")
        if is_busy and waits:
            break
        time.sleep(0.05)

    assert is_busy and waits
    assert (value(text, "pixelmill_queue_oldest_seconds", **of, queue="cpu") or 0) > 0


def test_a_workers_messages_are_on_its_own_scrape(of_workers: dict[str, str]) -> None:
    counter = "pixelmill_worker_messages_total"

    assert (value(of_workers["cpu"], counter, stage="preprocess") or 0) >= 1, "of a forked child"
    assert (value(of_workers["gpu"], counter, stage="inference") or 0) >= 1


def test_what_a_worker_has_not_done_yet_is_shown_as_zero(of_workers: dict[str, str]) -> None:
    assert value(of_workers["gpu"], "pixelmill_device_total", what="full") == 0
    assert value(of_workers["gpu"], "pixelmill_batch_size_count", model="slow") is not None
    assert value(of_workers["cpu"], "pixelmill_worker_messages_total", stage="inference") is None


def test_a_device_shows_its_batches_and_its_memory(of_workers: dict[str, str]) -> None:
    text = of_workers["gpu"]
    batches = value(text, "pixelmill_batch_size_count", model="noop") or 0

    assert batches >= 1
    assert value(text, "pixelmill_batch_size_bucket", model="noop", le="1") is not None
    assert value(text, "pixelmill_batch_size_bucket", model="noop", le="+Inf") == batches
    assert (value(text, "pixelmill_batch_size_sum", model="noop") or 0) >= batches
    assert (value(text, "pixelmill_device_total", what="batches") or 0) >= batches
    assert (value(text, "pixelmill_device_busy_seconds_total") or 0) > 0
    used = value(text, "pixelmill_device_memory_bytes", of="used") or 0
    assert 0 < used < (value(text, "pixelmill_device_memory_bytes", of="total") or 0)


@pytest.mark.parametrize("headers", [{"Host": "mill.example.com"}, {"X-Forwarded-For": "10.0.0.7"}])
def test_through_a_proxy_numbers_need_a_key(stack: Stack, headers: dict[str, str]) -> None:
    url = f"{stack.url}/metrics"

    assert httpx.get(url, headers=headers).status_code == 401
    key = {"Authorization": f"Bearer {API_KEY}"}
    assert httpx.get(url, headers=headers | key).status_code == 200
    assert httpx.get(url, headers=headers | {"Authorization": "Bearer no"}).status_code == 401


def test_no_user_is_in_the_numbers(scrape: str) -> None:
    assert "tester" not in scrape
