"""A worker that is up says so again and again; one that drains falls silent."""

import os
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from storage import catalogue, keys
from storage.redis.calls import SyncRedis
from storage.scratch import boot_id
from workers import heartbeat
from workers.heartbeat import Heartbeat, worker_info

pytest_plugins = ["inprocess"]

TTL_MS = 150
CARD = {"toy": {"name": "toy"}}


@pytest.fixture
def beating(in_process: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heartbeat]:
    """One that speaks every 20 ms and is believed for 150."""
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.02)
    monkeypatch.setattr(catalogue, "WORKER_TTL_MS", TTL_MS)
    made = Heartbeat("gpu-1@host", lambda: worker_info("gpu", ["gpu.toy"], "cpu"), lambda: CARD)
    yield made
    made.stop()
    time.sleep(0.05)  # its thread ends before its Redis is forgotten


def eventually(is_so: Callable[[], bool], seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if is_so():
            return True
        time.sleep(0.01)
    return False


def test_nothing_is_said_before_the_start(beating: Heartbeat, link: SyncRedis) -> None:
    assert link.do(catalogue.read()).workers == ()


def test_a_worker_that_is_up_is_in_the_catalogue(beating: Heartbeat, link: SyncRedis) -> None:
    beating.start()

    assert eventually(lambda: link.do(catalogue.read()).is_live("gpu.toy"))
    announced = link.do(catalogue.read())
    assert (announced.workers[0]["device"], announced.workers[0]["pid"]) == ("cpu", os.getpid())
    assert set(announced.models) == set(CARD)


def test_it_stays_there_for_longer_than_one_announcement_lasts(
    beating: Heartbeat, link: SyncRedis
) -> None:
    beating.start()
    assert eventually(lambda: link.do(catalogue.read()).is_live("gpu.toy"))

    seen = []
    for _ in range(10):
        time.sleep(TTL_MS / 1000 / 5)
        seen.append(link.do(catalogue.read()).is_live("gpu.toy"))

    assert all(seen)


def test_a_stopped_worker_disappears(beating: Heartbeat, link: SyncRedis) -> None:
    beating.start()
    assert eventually(lambda: link.do(catalogue.read()).is_live("gpu.toy"))

    beating.stop()

    assert eventually(lambda: not link.do(catalogue.read()).is_live("gpu.toy"), seconds=2)


def test_a_catalogue_that_was_lost_is_written_again(
    beating: Heartbeat, link: SyncRedis, state: "redis.Redis"
) -> None:
    beating.start()
    assert eventually(lambda: link.do(catalogue.read()).is_live("gpu.toy"))

    state.delete(keys.WORKERS, keys.MODELS, keys.SEEN, keys.worker("gpu-1@host"), keys.model("toy"))

    assert eventually(lambda: link.do(catalogue.read()).is_live("gpu.toy"))
    assert set(link.do(catalogue.read()).models) == {"toy"}


def test_a_redis_that_is_away_is_no_end_of_it(
    beating: Heartbeat, link: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []

    def away() -> SyncRedis:
        tried.append(time.monotonic())
        return SyncRedis(redis.Redis(port=1, retry=None)) if len(tried) < 3 else link

    monkeypatch.setattr(heartbeat, "state", away)
    beating.start()

    assert eventually(lambda: link.do(catalogue.read()).is_live("gpu.toy"))
    assert len(tried) >= 3


def test_processes_of_one_host_say_one_boot_id() -> None:
    assert boot_id() == boot_id() != ""


def test_it_says_how_far_its_clock_is_from_that_of_redis(
    beating: Heartbeat, link: SyncRedis
) -> None:
    beating.start()

    def clocks() -> list[int]:
        workers = link.do(catalogue.read()).workers
        return [worker["clock_ms"] for worker in workers if "clock_ms" in worker]

    assert eventually(lambda: bool(clocks()))
    assert abs(clocks()[0]) < 1000  # they are on one machine
