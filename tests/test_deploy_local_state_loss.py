"""The state Redis of `pixelmill up` is emptied, or its file damaged, while it runs."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import redis
from local_up import Up
from stack import MODEL_PATHS, REPOSITORY, free_port

from storage import keys

BACK_S = 30.0

LAST = f"{keys.PREFIX}last"


class Server(Up):
    """A running `up` with the model `slow`."""

    def __init__(self, folder: Path) -> None:
        env = {
            "PIXELMILL_MODELS": "slow",
            "PIXELMILL_MODEL_PATHS": MODEL_PATHS,
            "PIXELMILL_DEVICE": "cpu",
            "PIXELMILL_TASK_EVENTS": "false",
            "PIXELMILL_AUTH": "accounts",
        }
        super().__init__(folder, "--port", str(free_port()), env=env)
        self.wait_until_ready()
        key = {"Authorization": f"Bearer {self.run['api_key']}"}
        self.client = httpx.Client(base_url=str(self.run["url"]), headers=key, timeout=40)

    def stop(self) -> int:
        self.client.close()
        return super().stop()

    def ask(self, salt: int, wait: float = 30, device_s: float = 0) -> httpx.Response:
        """Asked again while there is no answer: the machine of the tests is too busy, or what was
        emptied is not all there again. A web process knows the workers of a second ago, so that one
        job may be done before they are missed, and have to announce themselves again.
        """
        photo = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
        query = {"salt": str(salt), "wait": str(wait), "device_s": str(device_s)}
        give_up_at = time.monotonic() + BACK_S
        while True:
            answer = self.client.post("/api/v1/predict/slow", params=query, content=photo)
            if answer.status_code != 503 or time.monotonic() > give_up_at:
                return answer
            time.sleep(0.2)

    def state(self) -> "redis.Redis":
        facts = json.loads((self.folder / "var" / "installation.json").read_text())
        return redis.Redis(port=facts["state_port"], password=facts["state_password"])

    def back_after(self) -> tuple[float, set[tuple[int, str]]]:
        """Seconds until work is done again, and what was answered until then."""
        began = time.monotonic()
        _, seen = self.done(time.time_ns())
        return time.monotonic() - began, seen

    def done(self, salt: int) -> tuple[httpx.Response, set[tuple[int, str]]]:
        """The answer 200, and what was answered before it."""
        began, seen = time.monotonic(), set()
        while time.monotonic() - began < BACK_S:
            try:
                answer = self.ask(salt)
            except httpx.HTTPError:
                continue
            if answer.status_code == 200:
                return answer, seen
            seen.add((answer.status_code, answer.json().get("error", {}).get("code", "")))
            time.sleep(0.1)
        raise AssertionError(f"no work {BACK_S} s later; answers were {seen}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("emptied"))
    yield server
    if server.process.poll() is None:
        server.stop()


def test_an_emptied_state_is_prepared_again_by_itself(server: Server) -> None:
    before = server.ask(1)
    jobs = [server.ask(100 + number, 0, 0.5).json()["id"] for number in range(4)]
    with server.state() as state:
        state.flushall()
    back_s, seen = server.back_after()
    # A web process may have known the key for a second longer than the state did.
    again, seen_later = server.done(1)
    end = time.monotonic() + BACK_S
    while "the state Redis was empty" not in server.said and time.monotonic() < end:
        time.sleep(0.1)  # the account comes after the key
    gone = {server.client.get(f"/api/v1/jobs/{job}").status_code for job in jobs}
    login = {"user": "admin", "password": server.password}
    signed_in = httpx.post(f"{server.run['url']}/login", data=login)

    print(f"work again after {back_s:.1f} s; until then {seen | seen_later}")
    assert seen | seen_later <= {
        (401, "not_signed_in"),
        (503, "no_worker"),
        (503, "unavailable"),
        (404, "no_job"),
    }
    assert (404, "no_model") not in seen
    assert before.status_code == 200
    assert again.json()["cached"], "results are found again"
    assert gone == {404}
    assert signed_in.status_code == 200 and "password of your own" in signed_in.text
    assert "the state Redis was empty" in server.said


@pytest.mark.measures_time
def test_who_waits_is_answered_when_the_state_is_emptied(server: Server) -> None:
    job = server.ask(time.time_ns(), 0, 5).json()["id"]
    began = time.monotonic()
    with (
        server.client.stream("GET", f"/api/v1/jobs/{job}/events") as events,
        server.state() as state,
    ):
        state.flushall()
        with suppress(httpx.HTTPError):
            for _ in events.iter_lines():
                pass
    took_s = time.monotonic() - began
    server.back_after()

    assert took_s < 10


def test_damage_inside_the_file_is_cut_off_and_said(server: Server) -> None:
    with server.state() as state:
        state.set(LAST, "x" * 2000)
    time.sleep(1.5)  # it is written each second
    folder = server.folder / "var" / "state-redis"
    [file] = folder.glob("appendonlydir/*.incr.aof")
    with open(file, "r+b") as damaged:
        damaged.seek(file.read_bytes().index(LAST.encode()) - len("*3\r\n$3\r\nSET\r\n$8\r\n"))
        damaged.write(b"DAMAGE")

    os.kill(server.pids["state-redis"], signal.SIGKILL)
    back_s, _ = server.back_after()

    print(f"work again after {back_s:.1f} s")
    said = " ".join(server.said.split())
    assert (
        "was damaged inside: the last" in said and "A copy of the files as they were is in" in said
    )
    [copy] = folder.glob("damaged-*")
    assert b"DAMAGE" in (copy / file.name).read_bytes()
