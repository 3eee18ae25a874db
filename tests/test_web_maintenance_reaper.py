"""Lost messages and dead workers cost seconds; a long queue is never taken for either."""

import os
import signal
import time

import httpx
import many_jobs
import pytest
import redis
import runs
from stack import Stack

from storage import backlog_keys, keys
from storage.jobs import claims, endings, history, recovery
from storage.jobs.backlog import enqueue_claimed
from storage.jobs.bounds import LEAST_KEPT_MS
from storage.jobs.endings import End
from storage.jobs.recovery import Lost
from storage.jobs.spec import RunRef, Spec
from storage.redis import calls
from web.jobs import room
from web.maintenance import reaper

pytest_plugins = ["inprocess"]


def claimed(servers: Stack, key: str) -> tuple[calls.SyncRedis, RunRef]:
    link = calls.SyncRedis(servers.state)
    spec = Spec(key, "u", "noop", {}, [], "upload", "w", "c")
    claim = link.do(claims.claim(f"job-{key}", spec, priority="batch", job_ttl_s=60))
    assert claim.verdict == "start"
    ref = RunRef(key, claim.attempt)
    link.do(enqueue_claimed(ref))
    return link, ref


def lost_runs(link: calls.SyncRedis, servers: Stack, grace_ms: int = 0) -> list[Lost]:
    """What two searches find: a run must look lost in the first and still so in the second."""
    lost: list[Lost] = []
    for _ in range(2):
        servers.state.delete(keys.REAPER_LOCK)
        lost += link.do(recovery.find_lost(every_ms=900, grace_ms=grace_ms)).items
        time.sleep(0.01)
    return lost


def end(link: calls.SyncRedis, ref: RunRef) -> None:
    link.do(endings.finish([End(ref, "done", "{}")], job_ttl_s=60))


def test_a_run_that_waits_nowhere_is_lost(servers: Stack) -> None:
    link, ref = claimed(servers, "gone")
    servers.state.delete(backlog_keys.backlog("noop", "batch"))

    [lost] = lost_runs(link, servers)

    assert (lost.ref, lost.priority, lost.model) == (ref, "batch", "noop")
    end(link, ref)


def test_a_run_whose_bytes_are_still_on_their_way_is_not_lost(servers: Stack) -> None:
    link, ref = claimed(servers, "brought")
    servers.state.hset(keys.run("brought"), "unqueued", "1")
    before = lost_runs(link, servers)
    servers.state.hset(keys.run("brought"), "lease", "1")

    after = lost_runs(link, servers)

    assert before == [] and [run.ref.key for run in after] == ["brought"]
    end(link, ref)


def test_an_old_attempt_can_change_nothing_any_more(servers: Stack) -> None:
    link, ref = claimed(servers, "stale")
    [n] = link.do(recovery.requeue([ref], job_ttl_s=60))

    late = link.do(endings.finish([End(ref, "done", "{}")], job_ttl_s=60))

    assert (late, n) == ([False], ref.attempt + 1)
    end(link, RunRef("stale", n))


def test_only_one_of_two_requeues_a_run(servers: Stack) -> None:
    link, ref = claimed(servers, "twice")

    numbers = [link.do(recovery.requeue([ref], job_ttl_s=60)) for _ in range(2)]

    assert numbers == [[ref.attempt + 1], [0]]
    end(link, RunRef("twice", ref.attempt + 1))


def test_a_run_that_waits_in_the_backlog_is_left_alone(servers: Stack) -> None:
    link, ref = claimed(servers, "waits")

    lost = lost_runs(link, servers)

    assert lost == []
    end(link, ref)


def to_inference(link: calls.SyncRedis, ref: RunRef) -> None:
    """It waits for its second stage."""
    link.do(runs.begin_stage([ref], "preprocess"))
    end = runs.end_stage(
        [ref], "preprocess", model="noop", next_queue="gpu.noop", next_broker_queue="gpu.noop"
    )
    link.do(end)


def test_a_run_that_waits_in_a_queue_is_left_alone(servers: Stack) -> None:
    link, ref = claimed(servers, "queued")
    to_inference(link, ref)
    servers.state.lpush(keys.queue("gpu.noop", 0), "a message")

    lost = lost_runs(link, servers)

    servers.state.delete(keys.queue("gpu.noop", 0))
    assert lost == []
    end(link, ref)


def test_a_run_that_was_overtaken_is_lost(servers: Stack) -> None:
    link, ref = claimed(servers, "overtaken")
    _, later = claimed(servers, "later")
    to_inference(link, ref)
    to_inference(link, later)
    servers.state.lpush(keys.queue("gpu.noop", 0), "a message")
    link.do(runs.begin_stage([later], "inference", queue="gpu.noop"))

    lost = lost_runs(link, servers)

    servers.state.delete(keys.queue("gpu.noop", 0))
    assert [run.ref.key for run in lost] == ["overtaken"]
    end(link, lost[0].ref)
    end(link, later)


def test_a_running_run_lives_as_long_as_its_lease(servers: Stack) -> None:
    link, ref = claimed(servers, "running")
    link.do(runs.begin_stage([ref], "preprocess"))
    before = lost_runs(link, servers)
    servers.state.hset(keys.run("running"), "lease", "1")

    after = lost_runs(link, servers)

    assert before == [] and [run.ref.key for run in after] == ["running"]
    end(link, after[0].ref)


async def test_a_nearly_full_state_redis_forgets_the_oldest_jobs_of_histories(
    link: calls.SyncRedis, state_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a long history is not why new work is refused."""
    link.do(many_jobs.claim(1))
    with redis.Redis.from_url(state_url) as raw:
        ago_ms = raw.time()[0] * 1000 - LEAST_KEPT_MS - 1000
        raw.zadd(keys.user_jobs("ada"), {f"{1:032x}": ago_ms})
        raw.hset(keys.job(f"{1:032x}"), "created", ago_ms)
    async_link = calls.AsyncRedis(state_url, limit_s=5)
    used = [0.6, 0.75]
    memory = calls.command(lambda _: (int(used.pop(0) * 100), 100), "PING", kinds=calls.TEXT)
    monkeypatch.setattr(room, "memory", lambda: memory)

    kept = []
    for _ in range(2):
        await reaper.expire_jobs(async_link)
        kept += link.do(history.jobs_since("ada", 0, 1)).job_ids
    await async_link.close()

    assert kept == [f"{1:032x}"]


@pytest.mark.measures_time
def test_a_message_lost_on_its_way_costs_seconds(stack: Stack, photo: bytes) -> None:
    """The queue's content vanishes while no cpu worker is there to take it."""
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    worker = stack.processes["cpu-worker"].pid
    os.killpg(worker, signal.SIGSTOP)
    try:
        job = httpx.post(
            f"{stack.url}/api/v1/predict/noop?wait=0&salt={time.time_ns()}",
            content=photo,
            headers=headers,
        ).json()
        for step in ("", "\x06\x163", "\x06\x166", "\x06\x169"):
            stack.state.delete(f"{keys.BROKER_PREFIX}cpu{step}")
    finally:
        os.killpg(worker, signal.SIGCONT)

    began = time.monotonic()
    with httpx.stream(
        "GET", f"{stack.url}/api/v1/jobs/{job['id']}/events", headers=headers, timeout=30
    ) as events:
        last = [line for line in events.iter_lines() if line.startswith("data:")][-1]

    assert '"state":"done"' in last
    assert time.monotonic() - began < 15
