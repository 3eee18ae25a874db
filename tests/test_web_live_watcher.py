"""Waiting for jobs and watching them, on real Redis and pub/sub."""

import asyncio
import time
from collections.abc import Awaitable, Sequence

import pytest
import runs
from job_service import RESULT, finish
from stack import Stack

from storage import keys
from storage.jobs.snapshots import JobSnapshots
from storage.jobs.spec import RunRef
from storage.redis.calls import SyncRedis
from tasks.errors import BadInput
from web.jobs.service import JobService
from web.jobs.submission import Submission
from web.live.pubsub import RESYNC_S

pytest_plugins = ["job_service"]


@pytest.mark.measures_time
async def test_an_accepted_job_whose_end_cannot_be_read_is_answered_as_it_was(
    servers: Stack, live: None, service: JobService, submission: Submission
) -> None:
    snapshot = await service.submit(submission)
    with servers.hanging("state"):
        began = time.monotonic()
        seen = await service.watcher.wait(snapshot, 30)
        took_s = time.monotonic() - began

    assert seen.fields["id"] == snapshot.fields["id"] and seen.state == "queued"
    assert took_s < 2


async def test_another_users_job_is_404(
    live: None, service: JobService, submission: Submission
) -> None:
    snapshot = await service.submit(submission)

    with pytest.raises(BadInput) as caught:
        await service.get("bob", snapshot.fields["id"])

    assert (caught.value.code, caught.value.status) == ("no_job", 404)


async def test_a_job_that_never_was_gets_the_same_answer(service: JobService) -> None:
    with pytest.raises(BadInput, match="no job 'made-up'") as caught:
        await service.get("ada", "made-up")

    assert (caught.value.code, caught.value.status) == ("no_job", 404)


@pytest.mark.measures_time
async def test_waiting_ends_with_the_job(
    live: None, service: JobService, submission: Submission, link: SyncRedis
) -> None:
    snapshot = await service.submit(submission)
    waiting = asyncio.create_task(service.watcher.wait(snapshot, 10))
    await asyncio.sleep(0.05)
    began = time.monotonic()

    finish(link, snapshot.fields["request_key"])

    ended = await waiting
    assert (ended.state, ended.fields["result"]) == ("done", RESULT)
    assert time.monotonic() - began < 1, "notified, not polled"


async def test_all_who_joined_are_notified(
    live: None, service: JobService, submission: Submission, link: SyncRedis
) -> None:
    snapshots = [await service.submit(submission) for _ in range(5)]
    waiting = [asyncio.create_task(service.watcher.wait(snapshot, 10)) for snapshot in snapshots]
    await asyncio.sleep(0.05)

    finish(link, snapshots[0].fields["request_key"])

    assert [ended.state for ended in await asyncio.gather(*waiting)] == ["done"] * 5


@pytest.mark.measures_time
async def test_waiting_gives_the_job_as_it_is_when_time_is_up(
    live: None, service: JobService, submission: Submission
) -> None:
    snapshot = await service.submit(submission)
    began = time.monotonic()

    after = await service.watcher.wait(snapshot, 0.2)

    assert after.state == "queued"
    assert 0.15 < time.monotonic() - began < 1.5


async def test_an_end_before_the_wait_begins_is_not_missed(
    live: None, service: JobService, submission: Submission, link: SyncRedis
) -> None:
    snapshot = await service.submit(submission)
    key = snapshot.fields["request_key"]

    finish(link, key)
    while not service._pubsub.has_just_ended(keys.run_events(key)):
        await asyncio.sleep(0.01)

    async with asyncio.timeout(RESYNC_S / 2):
        assert (await service.watcher.wait(snapshot, 10)).state == "done"


async def test_a_job_is_read_once_by_who_waits_for_it(
    live: None,
    service: JobService,
    submission: Submission,
    link: SyncRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads: list[Sequence[str]] = []
    read = service.watcher._reader._call
    snapshot = await service.submit(submission)

    def counted(job_ids: Sequence[str]) -> Awaitable[JobSnapshots]:
        reads.append(job_ids)
        return read(job_ids)

    monkeypatch.setattr(service.watcher._reader, "_call", counted)
    monkeypatch.setattr(service._pubsub, "_resync_all", lambda: None)
    waiting = asyncio.create_task(service.watcher.wait(snapshot, 10))
    await asyncio.sleep(0.1)
    finish(link, snapshot.fields["request_key"])
    await waiting

    assert reads == [[snapshot.fields["id"]]]


async def test_an_end_whose_message_was_lost_is_found_all_the_same(
    live: None,
    service: JobService,
    submission: Submission,
    link: SyncRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pub/sub may lose a message; the record does not."""
    monkeypatch.setattr(service._pubsub, "_dispatch", lambda answer: None)
    snapshot = await service.submit(submission)
    waiting = asyncio.create_task(service.watcher.wait(snapshot, 10))
    await asyncio.sleep(0.05)

    finish(link, snapshot.fields["request_key"])

    assert (await waiting).state == "done"


async def test_watching_every_change_shows_the_way(
    live: None, service: JobService, submission: Submission, link: SyncRedis
) -> None:
    snapshot = await service.submit(submission)
    key = snapshot.fields["request_key"]
    seen: list[str] = []

    async for current in service.watcher.watch(snapshot):
        seen.append(current.state)
        if current.state == "queued":
            link.do(runs.begin_stage([RunRef(key, 1)], "preprocess", priority="interactive"))
        if current.state == "preprocessing":
            finish(link, key)

    assert seen == ["queued", "preprocessing", "done"]


async def test_watching_an_ended_job_shows_it_once(
    live: None, service: JobService, submission: Submission, link: SyncRedis
) -> None:
    snapshot = await service.submit(submission)
    finish(link, snapshot.fields["request_key"])

    seen = [current.state async for current in service.watcher.watch(snapshot)]

    assert seen == ["done"]
    assert service.watcher.channels == 0
