"""A web process names its loops that hang, recovers from errors in them, and outlives outages."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from stack import Stack

from storage import backlog_keys, catalogue, keys
from storage.jobs import claims
from storage.jobs.backlog import enqueue_claimed
from storage.jobs.spec import RunRef, Spec
from storage.redis.calls import SyncRedis

START = """
import asyncio
from web.jobs import publisher
from web.live import pubsub
from web.maintenance import reaper

{patch}

from web.__main__ import main
main()
"""
ONE_ODD_TURN = """
requeue_lost, odd = reaper.requeue_lost, [SystemExit(1), ValueError("odd")]

async def patched(state, catalogue):
    if odd:
        raise odd.pop()
    return await requeue_lost(state, catalogue)

reaper.requeue_lost = patched
"""
ONE_ODD_SEND = """
send, odd = publisher.enqueue_claimed, [ValueError("odd")]

def patched(*given):
    if odd:
        raise odd.pop()
    return send(*given)

publisher.enqueue_claimed = patched
"""
HANGS = """
reaper.ALLOWED_S = 3.0

async def patched(state, catalogue):
    await asyncio.sleep(3600)

reaper.requeue_lost = patched
"""
STANDS_STILL = """
import time
from web import hang
hang.ALLOWED_S = 2.0

async def patched(state, catalogue):
    time.sleep(3600)

reaper.requeue_lost = patched
"""
IMPATIENT = "pubsub.CONNECT_S = 1.0; pubsub.ALLOWED_S = reaper.ALLOWED_S = 5.0"
CARD = {
    "name": "toy", "title": "Toy", "kind": "labels", "params": {"properties": {}},
    "weights": "w", "weights_bytes": 0, "code": "c", "decode": "none", "licence": "",
    "intended_use": "", "fallback": None, "device": "cpu", "max_batch": 1,
    "cost_ms": {"a": 1.0, "b": 1.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("health")) as mill:
        mill.start_servers()
        yield mill


@contextmanager
def web(mill: Stack, patch: str) -> Iterator[httpx.Client]:
    """A web process with patched code."""
    mill.start("web", [sys.executable, "-c", START.format(patch=patch)])
    with httpx.Client(base_url=mill.url, timeout=10) as client:
        mill.wait_for("web", lambda: client.get("/healthz").status_code == 200)
        try:
            yield client
        finally:
            mill.kill("web")


def until(true: Callable[[], object], seconds: float = 20) -> float:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds
        time.sleep(0.05)
    return time.monotonic() - began


def lost_run(mill: Stack, key: str) -> SyncRedis:
    """A run that has vanished from the backlog."""
    link = SyncRedis(mill.state)
    spec = Spec(key, "u", "toy", {}, [], "upload", "w", "c")
    claim = link.do(claims.claim(f"job-{key}", spec, priority="batch", job_ttl_s=60))
    link.do(enqueue_claimed(RunRef(key, claim.attempt)))
    mill.state.delete(backlog_keys.backlog("toy", "batch"))
    return link


def test_a_reaper_whose_turn_raised_goes_on_reaping(mill: Stack) -> None:
    with web(mill, ONE_ODD_TURN) as client:
        log = mill.folder / "web.log"
        until(lambda: "ValueError: odd" in log.read_text())
        lost_run(mill, "lost")

        until(lambda: mill.state.hget(keys.run("lost"), "attempt") == b"2")

        numbers = client.get("/metrics").text
        assert client.get("/healthz").json() == {"ok": True, "late": []}
        assert client.get("/readyz").status_code == 200
    assert 'pixelmill_loop_failures_total{loop="reaper"} 2.0' in numbers
    assert 'pixelmill_loop_restarts_total{loop="reaper"} 2.0' in numbers
    assert 'pixelmill_loop_age_seconds{loop="pubsub"}' in numbers
    assert "Traceback" in log.read_text()


def test_a_publisher_that_raised_answers_503_and_then_works(mill: Stack) -> None:
    photo = (Path(__file__).parent.parent / "examples" / "chelsea.jpg").read_bytes()
    with web(mill, ONE_ODD_SEND) as client:
        link = SyncRedis(mill.state)
        link.do(catalogue.announce("cpu@host", {"queues": ["cpu"]}, {}))
        link.do(catalogue.announce("gpu@host", {"queues": ["gpu.toy"]}, {"toy": CARD}))
        until(lambda: any(model["live"] for model in client.get("/api/v1/models").json()["models"]))
        answers = []
        for number in range(2):
            began = time.monotonic()
            answer = client.post("/api/v1/predict/toy?wait=0", content=photo + bytes([number]))
            answers.append((answer.status_code, time.monotonic() - began < 5))

    assert answers == [(503, True), (202, True)]


def test_a_loop_that_hangs_is_named(mill: Stack) -> None:
    with web(mill, HANGS) as client:
        until(lambda: client.get("/healthz").status_code == 503)
        answers = [client.get(path).json() for path in ("/healthz", "/readyz")]

    assert "reaper" in answers[0]["late"][0] and "3 s are allowed" in answers[0]["late"][0]
    assert not answers[1]["ok"] and "reaper" in answers[1]["down"][0]


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL], ids=["hangs", "is gone"])
def test_an_unavailable_redis_is_no_reason_to_restart_web(mill: Stack, how: signal.Signals) -> None:
    with web(mill, IMPATIENT) as client:
        os.kill(mill.processes["state"].pid, how)
        end, late, ready = time.monotonic() + 8, set(), set()  # loops are late after 5
        while time.monotonic() < end:
            late |= set(client.get("/healthz").json()["late"])
            ready.add(client.get("/readyz").status_code)
            time.sleep(0.2)
        if how is signal.SIGKILL:
            mill.processes["state"].wait()
            mill.start_redis("state", "--appendonly", "yes")
        else:
            os.kill(mill.processes["state"].pid, signal.SIGCONT)
        until(lambda: client.get("/readyz").status_code == 200)

    assert not late
    assert 503 in ready


def test_a_web_process_whose_event_loop_stands_still_ends_and_says_where(mill: Stack) -> None:
    mill.start("web", [sys.executable, "-c", START.format(patch=STANDS_STILL)])

    status = mill.processes["web"].wait(60)

    assert status == 1
    assert "in patched" in (mill.folder / "web.log").read_text()
