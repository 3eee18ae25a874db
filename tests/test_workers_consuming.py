"""A worker that takes nothing though work waits, or finishes nothing, ends to be started again."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis
from celery.worker import state as celery_state
from stack import Stack

from storage import catalogue, keys
from storage.redis.calls import SyncRedis
from workers import consuming
from workers.consuming import SILENT_S, Consuming, Pulse
from workers.watchdog import RESTART_EXIT_CODE

pytest_plugins = ["inprocess"]

ROOM, STUCK_S = 2, 180.0
IN_A_HURRY = """
from tasks.log import configure
configure("info")
from workers import boot, consuming
consuming.SILENT_S, consuming.LOOK_S = 4.0, 0.5
boot.cpu()
"""


class Request:
    """What Celery holds of a message in hand."""


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr(consuming, "monotonic", lambda: clock[0])
    return clock


@pytest.fixture
def in_hand(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    held: list[Request] = []
    monkeypatch.setattr(celery_state, "reserved_requests", held)
    monkeypatch.setattr(celery_state, "all_total_count", [0])
    return held


@pytest.fixture
def watched(state_url: str, now: list[float], in_hand: list[Request]) -> Consuming:
    made = Consuming(state_url, ["cpu"], ROOM, STUCK_S)
    look(made, now)  # the first look only remembers
    return made


def look(made: Consuming, now: list[float], seconds: float = 0) -> str | None:
    """What it says after so many seconds of looking every 5."""
    said = None
    for _ in range(max(int(seconds / 5), 1)):
        now[0] += 5.1
        said = made.check()
    return said


def wait_in_line(state: "redis.Redis", priority: int = 9) -> None:
    state.lpush(keys.queue("cpu", priority), "message")


def test_an_idle_worker_is_no_trouble(watched: Consuming, now: list[float]) -> None:
    assert look(watched, now, 10 * SILENT_S) is None


def test_one_that_takes_nothing_though_there_is_room_is_trouble(
    watched: Consuming, now: list[float], state: "redis.Redis"
) -> None:
    wait_in_line(state)

    assert look(watched, now, SILENT_S - 10) is None
    assert "none has been taken" in str(look(watched, now, 15))


def test_one_that_takes_now_and_then_is_no_trouble(
    watched: Consuming, now: list[float], state: "redis.Redis"
) -> None:
    wait_in_line(state)
    for _ in range(10):
        assert look(watched, now, SILENT_S - 10) is None
        celery_state.all_total_count[0] += 1


def test_a_full_pool_may_take_its_time_but_not_for_ever(
    watched: Consuming, now: list[float], state: "redis.Redis", in_hand: list[Request]
) -> None:
    wait_in_line(state)
    in_hand.extend(Request() for _ in range(ROOM))

    assert look(watched, now, STUCK_S - 10) is None
    assert "finished nothing" in str(look(watched, now, 20))


def test_the_time_of_an_outage_is_not_held_against_it(
    now: list[float], in_hand: list[Request]
) -> None:
    away = Consuming("redis://127.0.0.1:1/0", ["cpu"], ROOM, STUCK_S)

    assert look(away, now, 10 * SILENT_S) is None


def test_one_that_drains_is_meant_to_take_nothing(
    watched: Consuming, now: list[float], state: "redis.Redis"
) -> None:
    wait_in_line(state)
    watched.drain()

    assert look(watched, now, 10 * SILENT_S) is None


def test_the_main_threads_pulse_is_watched_while_it_consumes() -> None:
    from tasks.loops import LOOPS

    repeated: list[object] = []
    hub = SimpleNamespace(call_repeatedly=lambda s, body: repeated.append(body) or SimpleNamespace(
        cancel=repeated.clear))  # fmt: skip
    step, consumer = Pulse(None), SimpleNamespace(hub=hub)

    step.start(consumer)
    assert "consumer" in [loop.name for loop in LOOPS] and repeated

    step.stop(consumer)
    assert "consumer" not in [loop.name for loop in LOOPS] and not repeated


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path, {"PIXELMILL_CPU_PROCESSES": "1"}) as own:
        own.start_servers()
        yield own


@pytest.mark.measures_time
def test_a_real_worker_that_falls_silent_ends_by_itself(own: Stack) -> None:
    """Celery cancels its consumer: the process lives, announces itself, and takes nothing."""
    own.start("cpu-worker", [sys.executable, "-c", IN_A_HURRY])
    link = SyncRedis(own.state)
    own.wait_for("cpu-worker", lambda: link.do(catalogue.read()).is_live("cpu"))
    celery = [sys.executable, "-m", "celery", "-A", "tasks.app", "control", "cancel_consumer"]
    subprocess.run([*celery, "cpu"], env=own.env, cwd=own.folder, check=True, timeout=60)
    began = time.monotonic()
    wait_in_line(own.state)

    try:
        code = own.processes["cpu-worker"].wait(60)
    except subprocess.TimeoutExpired:
        pytest.fail("it lives on and does nothing")

    assert code == RESTART_EXIT_CODE
    assert 3 < time.monotonic() - began < 30
    assert "none has been taken" in (own.folder / "cpu-worker.log").read_text()
