"""Waiting for jobs and watching them, on real Redis and pub/sub."""

import asyncio
import json
import time
from collections.abc import Awaitable, Mapping, Sequence

import pytest
import runs
from job_service import RESULT, finish
from stack import Stack

from storage import keys
from storage.jobs import endings
from storage.jobs.endings import End
from storage.jobs.snapshots import JobSnapshots
from storage.jobs.spec import RunRef
from storage.redis.calls import SyncRedis
from tasks.errors import BadInput
from web.jobs.service import JobService
from web.jobs.submission import Submission
from web.live.pubsub import RESYNC_S

pytest_plugins = ["job_service"]


def end(link: SyncRedis, key: str, state: str, payload: str) -> None:
    """End the run of this key."""
    link.do(endings.finish([End(RunRef(key, 1), state, payload)], job_ttl_s=100))


def parsed(fields: Mapping[str, str]) -> dict[str, object]:
    """The fields of a job, with the value of each that is JSON."""
    of_json = ("params", "result", "error", "timings")
    return {name: json.loads(text) if name in of_json else text for name, text in fields.items()}


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
    while not service._pubsub.end_of(keys.run_events(key)):
        await asyncio.sleep(0.01)

    async with asyncio.timeout(RESYNC_S / 2):
        assert (await service.watcher.wait(snapshot, 10)).state == "done"


@pytest.fixture
def reads(service: JobService, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The ids of jobs that the service reads, one list per read."""
    ids: list[Sequence[str]] = []
    read = service.watcher._reader._call

    def noted(job_ids: Sequence[str]) -> Awaitable[JobSnapshots]:
        ids.append(job_ids)
        return read(job_ids)

    monkeypatch.setattr(service.watcher._reader, "_call", noted)
    monkeypatch.setattr(service._pubsub, "_resync_all", lambda: None)
    return ids


LONG = json.dumps({"kind": "noop", "objects": {}, "data": {"text": "x" * 5000}})
ERROR = json.dumps({"code": "poison", "message": "no", "hint": None, "status": 500})


@pytest.mark.parametrize(("state", "payload"), [("done", RESULT), ("failed", ERROR)])
async def test_who_waits_is_told_by_the_end_what_the_record_says(
    live: None,
    service: JobService,
    submission: Submission,
    link: SyncRedis,
    reads: list[Sequence[str]],
    state: str,
    payload: str,
) -> None:
    snapshot = await service.submit(submission)
    waiting = asyncio.create_task(service.watcher.wait(snapshot, 10))
    await asyncio.sleep(0)
    end(link, snapshot.fields["request_key"], state, payload)

    told = await waiting

    assert reads == []
    read = await service.get("ada", snapshot.fields["id"])
    assert told.version == read.version
    assert parsed(told.fields).items() <= parsed(read.fields).items()


async def test_who_waits_for_a_long_result_reads_it(
    live: None,
    service: JobService,
    submission: Submission,
    link: SyncRedis,
    reads: list[Sequence[str]],
) -> None:
    snapshot = await service.submit(submission)
    waiting = asyncio.create_task(service.watcher.wait(snapshot, 10))
    await asyncio.sleep(0)
    end(link, snapshot.fields["request_key"], "done", LONG)

    assert (await waiting).fields["result"] == LONG
    assert reads == [[snapshot.fields["id"]]]


async def test_the_end_of_a_run_tells_nothing_of_a_job_that_had_left_it(
    live: None, service: JobService, submission: Submission, link: SyncRedis
) -> None:
    first, second = [await service.submit(submission) for _ in range(2)]
    waiting = asyncio.create_task(service.watcher.wait(first, 10))
    await asyncio.sleep(0)
    await service.cancel("ada", first.fields["id"])

    finish(link, first.fields["request_key"])

    assert (await waiting).state == "cancelled"
    assert (await service.watcher.wait(second, 10)).state == "done"


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
