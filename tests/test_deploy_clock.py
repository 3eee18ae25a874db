"""The clock of the state Redis jumps while work is in progress: nothing is lost, all goes on.

One installation for all tests of this file: starting it takes longer than a jump.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
from clocks import Clock
from stack import MODEL_PATHS, REPOSITORY, Stack

HOURS_S = 2 * 3600
BACK_S = 30.0


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    return Clock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def running(clock: Clock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    env = {
        "PIXELMILL_MODELS": "slow",
        "PIXELMILL_MODEL_PATHS": MODEL_PATHS,
        "PIXELMILL_DEVICE": "cpu",
        "PIXELMILL_TASK_EVENTS": "false",
        "PIXELMILL_CPU_PROCESSES": "1",
    }
    with Stack(tmp_path_factory.mktemp("mill"), env) as stack:
        stack.start_servers(clock.env)
        stack.start_workers()
        stack.start_web()
        yield stack


@pytest.fixture
def stack(running: Stack) -> Stack:
    """With workers, whatever the test before has done to them."""
    running.wait_until_live()
    return running


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    key = {"Authorization": f"Bearer {stack.api_key}"}
    with httpx.Client(base_url=stack.url, headers=key, timeout=40) as client:
        yield client


def ask(
    client: httpx.Client, salt: int, device_s: float = 0, wait: float = 0, prepare_s: float = 0
) -> httpx.Response:
    photo = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
    query = {"salt": salt, "prepare_s": prepare_s, "device_s": device_s, "wait": wait}
    return client.post("/api/v1/predict/slow", params=query, content=photo)


def states(client: httpx.Client, jobs: list[str]) -> Counter[str]:
    """Each job's state, or the code of its failure."""
    answers = [client.get(f"/api/v1/jobs/{job}").json() for job in jobs]
    return Counter(
        job["error"]["code"] if job["state"] == "failed" else job["state"] for job in answers
    )


def ended(client: httpx.Client, jobs: list[str], seconds: float) -> Counter[str]:
    end = time.monotonic() + seconds
    under_way = ("queued", "preprocessing", "inferring", "postprocessing")
    while True:
        now = states(client, jobs)
        if not any(now[state] for state in under_way) or time.monotonic() > end:
            return now
        time.sleep(0.5)


def hand_in(client: httpx.Client, count: int) -> list[str]:
    """Jobs of a second each, once the gpu worker is at one of them."""
    jobs = [ask(client, time.time_ns(), 1).json()["id"] for _ in range(count)]
    end = time.monotonic() + 30
    while not states(client, jobs)["inferring"] and time.monotonic() < end:
        time.sleep(0.05)
    return jobs


def works_after(client: httpx.Client) -> float:
    """Seconds until new work is done."""
    began = time.monotonic()
    answered(client, time.time_ns())
    return time.monotonic() - began


def answered(client: httpx.Client, salt: int) -> httpx.Response:
    """The answer of a job that is done; refusals until then are for a few seconds."""
    end = time.monotonic() + BACK_S
    while (answer := ask(client, salt, wait=30)).status_code != 200:
        assert time.monotonic() < end, answer.text
        time.sleep(0.2)
    return answer


def test_a_clock_that_is_set_forward_ends_jobs_by_their_deadline_and_no_other_way(
    clock: Clock, client: httpx.Client
) -> None:
    done = answered(client, 99)
    jobs = hand_in(client, 6)
    clock.move(HOURS_S)
    began = time.monotonic()
    work_s = works_after(client)
    now = ended(client, jobs, 60)
    print(f"new work after {work_s:.1f} s; all ended in {time.monotonic() - began:.1f} s {now}")
    again = answered(client, 99)

    assert set(now) <= {"done", "expired"} and now["expired"]
    assert done.json()["state"] == "done" and again.json()["cached"]


def test_work_goes_on_after_the_clock_was_set_back_in_a_first_stage(
    clock: Clock, client: httpx.Client
) -> None:
    """A stage that took less than nothing once made room for less than no run."""
    job = ask(client, time.time_ns(), prepare_s=3).json()["id"]
    end = time.monotonic() + 30
    while not states(client, [job])["preprocessing"] and time.monotonic() < end:
        time.sleep(0.05)
    clock.move(-HOURS_S)
    now = ended(client, [job], 60)
    answered(client, time.time_ns())
    timings = client.get(f"/api/v1/jobs/{job}").json()["timings_ms"]

    assert now == {"done": 1} and min(timings.values()) >= 0


def test_work_of_a_worker_that_dies_as_the_clock_is_set_back_is_done(
    stack: Stack, clock: Clock, client: httpx.Client
) -> None:
    """Leases, locks and entries of workers end two hours later than they should."""
    jobs = hand_in(client, 6)
    clock.move(-HOURS_S)
    stack.kill("gpu-worker")
    stack.start("gpu-worker", [sys.executable, "-m", "workers", "gpu"])
    began = time.monotonic()
    now = ended(client, jobs, 110)
    print(f"all ended {time.monotonic() - began:.1f} s after the clock was set back: {now}")
    work_s = works_after(client)
    print(f"new work done in {work_s:.1f} s")

    assert now == {"done": 6}


@pytest.mark.measures_time
def test_a_worker_that_died_is_not_waited_for_when_the_clock_is_set_back(
    stack: Stack, clock: Clock, client: httpx.Client
) -> None:
    stack.kill("gpu-worker")
    clock.move(-HOURS_S)
    began = time.monotonic()
    while (answer := ask(client, time.time_ns())).status_code != 503:
        assert time.monotonic() - began < 75, answer.text
        time.sleep(0.5)
    print(f"refused after {time.monotonic() - began:.0f} s")
    stack.start("gpu-worker", [sys.executable, "-m", "workers", "gpu"])

    assert answer.json()["error"]["code"] == "no_worker"
