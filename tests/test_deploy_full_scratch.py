"""The folder of arrays between stages is filled by others: work is refused, none is lost."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from disks import fill, small_disk
from stack import MODEL_PATHS, REPOSITORY, Stack

SCRATCH_MIB = 32
NOTICED_S = 20.0
"""Workers say every five seconds how full it is; the machine of the tests may be busy."""
FULL_S = 15.0


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with small_disk(SCRATCH_MIB) as folder:
        env = {
            "PIXELMILL_MODELS": "slow",
            "PIXELMILL_MODEL_PATHS": MODEL_PATHS,
            "PIXELMILL_DEVICE": "cpu",
            "PIXELMILL_TASK_EVENTS": "false",
            "PIXELMILL_CPU_PROCESSES": "2",
            "PIXELMILL_SCRATCH_DIR": str(folder),
        }
        with Stack(tmp_path, env).start_all() as stack:
            yield stack


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    key = {"Authorization": f"Bearer {stack.api_key}"}
    with httpx.Client(base_url=stack.url, headers=key, timeout=40) as client:
        yield client


def ask(client: httpx.Client, salt: int, device_s: float = 0, wait: float = 0) -> httpx.Response:
    photo = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
    query = {"salt": salt, "device_s": device_s, "wait": wait, "deadline_s": 600}
    return client.post("/api/v1/predict/slow", params=query, content=photo)


def states(client: httpx.Client, jobs: list[str]) -> Counter[str]:
    return Counter(client.get(f"/api/v1/jobs/{job}").json()["state"] for job in jobs)


def test_new_work_is_refused_while_others_fill_it_and_goes_on_by_itself(
    stack: Stack, client: httpx.Client
) -> None:
    jobs = [ask(client, number, 1.5).json()["id"] for number in range(8)]
    filler = fill(Path(stack.env["PIXELMILL_SCRATCH_DIR"]))

    began, refused = time.monotonic(), ask(client, 100)
    while refused.status_code == 202 and time.monotonic() - began < NOTICED_S:
        jobs.append(refused.json()["id"])
        time.sleep(1)
        refused = ask(client, time.time_ns())
    refused_s = time.monotonic() - began
    time.sleep(FULL_S)
    still = ask(client, time.time_ns())
    filler.unlink()

    began = time.monotonic()
    while (answer := ask(client, time.time_ns())).status_code != 202:
        assert time.monotonic() - began < NOTICED_S, answer.text
        time.sleep(0.5)
    taken_s = time.monotonic() - began
    while (now := states(client, jobs))["done"] < len(jobs) and time.monotonic() - began < 90:
        time.sleep(0.5)

    ended_s = time.monotonic() - began
    print(f"refused after {refused_s:.1f} s: {refused.text}")
    print(f"taken {taken_s:.1f} s after there was room; in {ended_s:.1f} s {dict(now)}")
    assert refused.status_code == still.status_code == 429
    error = refused.json()["error"]
    assert error["code"] == "busy" and "scratch" in error["message"]
    assert int(refused.headers["retry-after"]) > 0
    assert now == {"done": len(jobs)}
