"""`pixelmill up` on a disk that fills up: work is refused in time, nothing ends, all recovers."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from disks import fill, small_disk
from local_up import Up
from stack import MODEL_PATHS, REPOSITORY, free_port

DISK_MIB = 96
FLOOR_MIB = 24
BACK_S = 20.0
"""Recovery: within seconds; the machine of the tests may be busy with others."""


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with small_disk(DISK_MIB) as folder:
        env = {
            "PIXELMILL_MODELS": "slow",
            "PIXELMILL_MODEL_PATHS": MODEL_PATHS,
            "PIXELMILL_MIN_FREE_MIB": str(FLOOR_MIB),
            "PIXELMILL_DEVICE": "cpu",
            "PIXELMILL_TASK_EVENTS": "false",
        }
        up = Up(folder, "--port", str(free_port()), env=env)
        try:
            up.wait_until_ready()
            yield up
        finally:
            (folder / "filler").unlink(missing_ok=True)
            if up.process.poll() is None:
                up.stop()


@pytest.fixture
def client(up: Up) -> Iterator[httpx.Client]:
    (up.folder / "filler").unlink(missing_ok=True)
    key = {"Authorization": f"Bearer {up.run['api_key']}"}
    with httpx.Client(base_url=str(up.run["url"]), headers=key, timeout=40) as client:
        until(lambda: ask(client, time.time_ns()).status_code == 200)
        yield client
    (up.folder / "filler").unlink(missing_ok=True)


def ask(client: httpx.Client, salt: int, wait: float = 30, **params: float) -> httpx.Response:
    photo = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
    query = {"salt": str(salt), "wait": str(wait), **{k: str(v) for k, v in params.items()}}
    return client.post("/api/v1/predict/slow", params=query, content=photo)


def until(true, seconds: float = BACK_S) -> float:
    began = time.monotonic()
    while True:
        try:
            if true():
                return time.monotonic() - began
        except httpx.HTTPError:
            pass
        assert time.monotonic() - began < seconds
        time.sleep(0.1)


def test_new_work_is_refused_before_the_disk_is_full(up: Up, client: httpx.Client) -> None:
    known = ask(client, 1)
    assert known.status_code == 200, known.text
    fill(up.folder, leave_mib=FLOOR_MIB - 4)
    time.sleep(1.1)

    refused = ask(client, 2)
    place = client.post("/api/v1/uploads", json={"size": 5})
    again, job = ask(client, 1), client.get(f"/api/v1/jobs/{known.json()['id']}")
    ready, page = client.get("/readyz"), client.get("/ui/")

    for answer in (refused, place):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (503, "no_room")
        assert (
            "the disk is nearly full" in error["message"]
            and "Free some disk space" in error["hint"]
        )
        assert int(answer.headers["retry-after"]) > 0
    assert again.status_code == 200 and again.json()["cached"], "a known result is given out"
    assert job.json()["state"] == "done"
    assert ready.status_code == 200 and "the disk is nearly full" in ready.text
    assert page.status_code == 200


def test_a_full_disk_ends_nothing_and_all_goes_on_when_there_is_room(
    up: Up, client: httpx.Client
) -> None:
    pids = up.pids
    in_flight = [ask(client, 10 + number, 0, device_s=1.5).json()["id"] for number in range(6)]
    fill(up.folder)
    until(lambda: client.get("/readyz").status_code == 503)
    time.sleep(8)  # longer than a worker's patience with a Redis that is away

    refused, page = ask(client, 99), client.get("/ui/")
    job = client.get(f"/api/v1/jobs/{in_flight[0]}")
    (up.folder / "filler").unlink()
    back_s = until(lambda: ask(client, time.time_ns()).status_code == 200)
    states = {job: "" for job in in_flight}

    def have_ended() -> bool:
        states.update({job: client.get(f"/api/v1/jobs/{job}").json()["state"] for job in states})
        return set(states.values()) <= {"done", "failed", "cancelled"}

    all_s = until(have_ended, 90)
    print(f"work again after {back_s:.1f} s, all jobs ended after {all_s:.1f} s more")
    assert refused.status_code == 503 and page.status_code == 200 and job.status_code == 200
    assert set(states.values()) == {"done"}
    assert up.pids == pids, "no process ended"
    assert "Traceback" not in up.said


def test_an_upload_that_meets_a_full_disk_is_answered_so(up: Up, client: httpx.Client) -> None:
    photo = (REPOSITORY / "examples" / "astronaut.jpg").read_bytes() + bytes(2_000_000)
    place = client.post("/api/v1/uploads", json={"size": len(photo)}).json()["upload"]
    fill(up.folder)

    answer = httpx.put(place["url"], content=photo, headers=place["headers"], timeout=30)
    (up.folder / "filler").unlink()
    back_s = until(
        lambda: httpx.put(place["url"], content=photo, headers=place["headers"]).status_code == 200
    )

    print(f"taken again after {back_s:.1f} s")
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
    assert answer.json()["error"]["code"] == "unavailable"


def test_no_trace_of_a_broken_request(up: Up) -> None:
    """The last of this file."""
    logs = "".join(file.read_text() for file in (Path(up.folder) / "var/logs").glob("web-1*.log"))

    assert "unhandled exception" not in logs and "Exception in ASGI" not in logs
