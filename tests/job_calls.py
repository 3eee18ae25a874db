"""A pytest plugin: the fixture `calls` takes jobs and runs through their states on a real Redis."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis
import runs

from storage import keys
from storage.jobs import claims, endings
from storage.jobs.claims import Claim
from storage.jobs.endings import End
from storage.jobs.snapshots import Snapshot
from storage.jobs.spec import RunRef, Spec
from storage.redis.calls import SyncRedis

KEY = "k" * 64


def spec(key: str = KEY, user: str = "ada") -> Spec:
    return Spec(key, user, "toy", {"gain": 2}, ["alpha"], f"upload-{key[:4]}", "sha256:w", "c")


class Calls:
    """Calls of web processes and workers, with the usual arguments of these tests."""

    def __init__(self, link: SyncRedis) -> None:
        self.link = link

    def claim(
        self,
        job: str,
        key: str = KEY,
        *,
        user: str = "ada",
        priority: str = "batch",
        known: str = "",
    ) -> Claim:
        asked = claims.claim(
            job,
            spec(key, user),
            priority=priority,
            job_ttl_s=60,
            known_result=known,
        )
        return self.link.do(asked)

    def begin_stage(
        self, *refs: RunRef, stage: str = "preprocess", progress: float = 0.05
    ) -> list[int]:
        call = runs.begin_stage(refs, stage, progress=progress)
        return [start.starts for start in self.link.do(call)]

    def heartbeat(self, *refs: RunRef) -> list[int]:
        return self.link.do(runs.heartbeat(refs, "preprocess"))

    def end_stage(self, *refs: RunRef) -> list[int]:
        call = runs.end_stage(refs, "preprocess", next_queue="gpu.toy", next_broker_queue="gpu.toy")
        return self.link.do(call)

    def finish(self, *refs: RunRef, state: str = "done", lasting: bool = False) -> list[int]:
        payload = '{"kind":"labels"}' if state == "done" else '{"code":"bad_input"}'
        ends = [End(ref, state, payload, lasting) for ref in refs]
        return self.link.do(endings.finish(ends, job_ttl_s=60))

    def snapshot(self, job: str) -> Snapshot:
        snapshot = runs.snapshot(self.link, job)
        assert snapshot is not None
        return snapshot


Report = Callable[..., list[int]]
REPORTS: list[Report] = [Calls.begin_stage, Calls.heartbeat, Calls.end_stage]
"""What workers report on runs."""


@pytest.fixture
def calls(link: SyncRedis) -> Calls:
    return Calls(link)


def expire_lease(state: "redis.Redis", key: str = KEY) -> None:
    state.hset(keys.run(key), "lease", "1")


@contextmanager
def published(state: "redis.Redis", key: str = KEY) -> Iterator[list[dict[str, object]]]:
    """Collects what is published of a run; complete when the context ends."""
    events: list[dict[str, object]] = []
    with state.pubsub(ignore_subscribe_messages=True) as stream:
        stream.subscribe(keys.run_events(key))
        stream.get_message(timeout=1)
        yield events
        while message := stream.get_message(timeout=0.1):
            events.append(json.loads(message["data"]))
