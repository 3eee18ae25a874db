"""Claimed runs are stored and queued, by whoever has the bytes, or ended for all who wait."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
import redis
from job_service import is_there, nobody
from stack import Stack

from storage import keys, object_keys
from storage.errors import StorageDown
from storage.jobs import claims
from storage.jobs.spec import RunRef, spec_from_json
from storage.redis.calls import AsyncRedis, SyncRedis
from storage.s3.objects import S3Objects
from tasks.errors import Unavailable
from web.jobs.publisher import Publisher
from web.jobs.service import JobService
from web.jobs.submission import Submission
from web.limits import STATE_LIMIT_S

pytest_plugins = ["job_service"]


async def test_a_job_that_joins_a_run_whose_first_job_was_cancelled_takes_it_over(
    live: None,
    service: JobService,
    submission: Submission,
    queued: Callable[[], int],
    s3: S3Objects,
    state: "redis.Redis",
) -> None:
    first = asyncio.create_task(service.submit(submission))
    while not service.starter._starting:
        await asyncio.sleep(0)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first

    snapshot = await service.submit(submission)

    spec = json.loads(state.hget(keys.run(snapshot.fields["request_key"]), "spec"))
    assert queued() == 1
    assert s3.get(object_keys.upload_object("ada", spec["upload"])) == submission.photo.data


async def test_two_web_processes_with_the_same_bytes_never_write_one_object(
    live: None,
    service: JobService,
    other: JobService,
    submission: Submission,
    queued: Callable[[], int],
    s3: S3Objects,
    state: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever reads an object of rclone while it is written once more is broken off."""
    written: list[str] = []
    is_stored = threading.Event()
    put = s3.put

    def slow_first(key: str, data: bytes, content_type: str) -> str:
        is_first = not written
        written.append(key)
        etag = put(key, data, content_type)
        if is_first:
            assert is_stored.wait(10)
        return etag

    monkeypatch.setattr(s3, "put", slow_first)
    first = asyncio.create_task(service.submit(submission))
    while not written:
        await asyncio.sleep(0.01)

    joined = await other.submit(submission)
    queued_by_the_other = queued()
    is_stored.set()
    started = await first

    spec = json.loads(state.hget(keys.run(joined.fields["request_key"]), "spec"))
    assert joined.fields["request_key"] == started.fields["request_key"]
    assert (queued_by_the_other, queued()) == (1, 1)
    assert len(set(written)) == len(written) == 2
    assert s3.get(object_keys.upload_object("ada", spec["upload"])) == submission.photo.data
    assert object_keys.upload_object("ada", spec["upload"]) == written[1], (
        "it was queued with this one"
    )

    for snapshot in (started, joined):
        assert not [key for key in written if not is_there(s3, key)], (
            "a job that is left needs both"
        )
        await other.delete("ada", snapshot.fields["id"])
    assert not [key for key in written if is_there(s3, key)]


async def test_a_job_that_joins_a_queued_run_changes_nothing_of_it(
    live: None, service: JobService, submission: Submission, state: "redis.Redis", link: SyncRedis
) -> None:
    snapshot = await service.submit(submission)
    key = snapshot.fields["request_key"]
    before = state.hget(keys.run(key), "spec")

    taken = link.do(
        claims.replace_upload(RunRef(key, 1), spec_from_json(before), snapshot.fields["id"])
    )
    stale = link.do(
        claims.replace_upload(RunRef(key, 7), spec_from_json(before), snapshot.fields["id"])
    )

    assert (taken, stale, state.hget(keys.run(key), "spec")) == (False, False, before)


async def test_bytes_that_cannot_be_stored_end_the_run_for_all_who_joined(
    live: None,
    service: JobService,
    submission: Submission,
    monkeypatch: pytest.MonkeyPatch,
    s3: S3Objects,
) -> None:
    begun, hold = threading.Event(), threading.Event()

    def put(key: str, data: bytes, content_type: str) -> str:
        begun.set()
        assert hold.wait(5)
        raise StorageDown("S3 did not answer put_object")

    monkeypatch.setattr(s3, "put", put)
    leading = asyncio.create_task(service.submit(submission))
    await asyncio.to_thread(begun.wait, 5)
    joined = await service.submit(submission)
    hold.set()

    with pytest.raises(StorageDown):
        await leading

    ended = await service.get("ada", joined.fields["id"])
    assert ended.state == "failed"
    assert json.loads(ended.fields["error"])["code"] == "unavailable"


async def test_an_unavailable_queue_ends_the_run(
    live: None,
    service: JobService,
    submission: Submission,
    state: "redis.Redis",
) -> None:
    service.starter.publisher = Publisher(AsyncRedis(nobody(), "the queue", STATE_LIMIT_S))

    with pytest.raises(Unavailable, match="the queue does not answer"):
        await service.submit(submission)

    [job] = state.keys(f"{keys.JOB_PREFIX}*")
    assert state.hget(job, "state") == "failed"


async def test_a_run_that_could_not_be_started_uses_nothing_of_a_quota(
    live: None,
    service: JobService,
    submission: Submission,
    monkeypatch: pytest.MonkeyPatch,
    s3: S3Objects,
) -> None:
    def put(key: str, data: bytes, content_type: str) -> str:
        raise StorageDown("S3 did not answer put_object")

    await service.submit(submission)
    before = {item.name: item.used for item in await service.quotas.read("ada")}
    monkeypatch.setattr(s3, "put", put)

    with pytest.raises(StorageDown):
        await service.submit(replace(submission, params={"gain": 2.5}))

    after = {item.name: item.used for item in await service.quotas.read("ada")}
    assert before["images_per_hour"] == before["images_per_day"] == 1
    assert after == before


async def test_an_upload_whose_run_could_not_be_queued_still_counts_as_stored(
    live: None, service: JobService, submission: Submission
) -> None:
    service.starter.publisher = Publisher(AsyncRedis(nobody(), "the queue", STATE_LIMIT_S))

    with pytest.raises(Unavailable):
        await service.submit(submission)

    used = {item.name: item.used for item in await service.quotas.read("ada")}
    assert used["images_per_hour"] == used["bytes_per_day"] == 0
    assert used["stored_bytes"] == submission.photo.size


@pytest.mark.measures_time
async def test_a_state_redis_that_falls_silent_after_the_claim_is_reported_soon(
    servers: Stack,
    live: None,
    service: JobService,
    submission: Submission,
    monkeypatch: pytest.MonkeyPatch,
    s3: S3Objects,
) -> None:
    redis_server = servers.processes["state"].pid

    def put(key: str, data: bytes, content_type: str) -> str:
        os.kill(redis_server, signal.SIGSTOP)
        return '"etag"'

    monkeypatch.setattr(s3, "put", put)
    began = time.monotonic()
    try:
        with pytest.raises((StorageDown, Unavailable)):
            await service.submit(submission)
        took_s = time.monotonic() - began
    finally:
        os.kill(redis_server, signal.SIGCONT)

    assert took_s < 2


async def test_what_could_not_be_queued_is_started_again_at_the_next_try(
    live: None,
    service: JobService,
    submission: Submission,
    queued: Callable[[], int],
) -> None:
    service.starter.publisher = Publisher(AsyncRedis(nobody(), "the queue", STATE_LIMIT_S))
    with pytest.raises(Unavailable):
        await service.submit(submission)

    service.starter.publisher = Publisher(service._state)

    assert (await service.submit(submission)).state == "queued"
    assert queued() == 1
