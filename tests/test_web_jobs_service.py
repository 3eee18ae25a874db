"""Jobs of a web process on real Redis, S3 and queue: submit, get, wait, watch, cancel, delete."""

import asyncio
import json
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
import redis
import runs
from stack import Stack

from storage import catalogue, keys
from storage import results as stored_results
from storage import uploads as stored_uploads
from storage.errors import StorageDown
from storage.jobs import claims, endings
from storage.jobs.endings import End
from storage.jobs.spec import RunRef, spec_from_json
from storage.redis.calls import AsyncRedis, SyncRedis
from storage.s3.asynchronous import AsyncObjects
from storage.s3.objects import S3Objects
from tasks.errors import BadInput, Unavailable
from tasks.models.base import Params
from tasks.settings import settings
from web.jobs import admission
from web.jobs.publisher import Publisher
from web.jobs.service import JobService
from web.jobs.submission import Photo, Submission, UploadNeeded
from web.limits import STATE_LIMIT_S
from web.live.pubsub import PubSub

pytest_plugins = ["inprocess"]


class Toy(Params):
    gain: float = 1.5


CARD = {
    "name": "toy",
    "params": Toy.model_json_schema(),
    "weights": "sha256:w",
    "code": "sha256:c",
    "decode": "rgb",
    "cost_ms": {"a": 40.0, "b": 5.0},
    "max_batch": 8,
}
RESULT = '{"kind":"labels","data":{}}'


@pytest.fixture
def live(link: SyncRedis) -> None:
    """A cpu worker and a gpu worker that serves `toy`."""
    link.do(catalogue.announce("cpu-1@host", {"queues": ["cpu"]}, {}))
    link.do(catalogue.announce("gpu-1@host", {"queues": ["gpu.toy"]}, {"toy": CARD}))


@pytest.fixture
async def service(
    in_process: None, s3: S3Objects, state_url: str, cache_url: str
) -> AsyncIterator[JobService]:
    async with service_on(s3, state_url, cache_url) as (service, pubsub):
        pubsub.start()
        with pubsub.subscribed("warm-up") as subscription:
            await asyncio.wait_for(subscription.messages(), 5)
        yield service
        await pubsub.stop()


@pytest.fixture
async def other(
    in_process: None, s3: S3Objects, state_url: str, cache_url: str
) -> AsyncIterator[JobService]:
    """The service of another web process, in which nobody waits."""
    async with service_on(s3, state_url, cache_url) as (service, _):
        yield service


@pytest.fixture
def cache(cache_url: str) -> Iterator[SyncRedis]:
    """Does calls on the database of the cache."""
    with redis.Redis.from_url(cache_url) as client:
        yield SyncRedis(client)


@pytest.fixture
def submission() -> Submission:
    """A photo, bytes and all, that nobody has submitted before."""
    data = secrets.token_bytes(100)
    photo = Photo(f"{data.hex()}:body", len(data), data=data, media_type="image/png")
    return Submission("ada", "toy", photo)


@pytest.fixture
def queued(state: "redis.Redis") -> Callable[[], int]:
    """How many messages are in the cpu queue."""

    def count() -> int:
        priorities = ("", "\x06\x163", "\x06\x166", "\x06\x169")
        return sum(state.llen(f"{keys.BROKER_PREFIX}cpu{priority}") for priority in priorities)

    return count


@asynccontextmanager
async def service_on(
    s3: S3Objects, state_url: str, cache_url: str
) -> AsyncIterator[tuple[JobService, PubSub]]:
    """A service with connections of its own, and its pub/sub, which is not started."""
    state = AsyncRedis(state_url, "the state Redis", STATE_LIMIT_S)
    cache = AsyncRedis(cache_url, "the cache Redis", STATE_LIMIT_S)
    pubsub = PubSub(state_url)
    service = JobService(state, cache, AsyncObjects(s3, s3.url), pubsub)
    yield service, pubsub
    await service.close()


def finish(link: SyncRedis, key: str, state: str = "done", lasting: bool = False) -> None:
    """What a worker says at the end of a run."""
    payload = RESULT if state == "done" else '{"code":"no_image","message":"no image"}'
    [ended] = link.do(endings.finish([End(RunRef(key, 1), state, payload, lasting)], job_ttl_s=60))
    assert ended


def is_there(s3: S3Objects, key: str) -> bool:
    try:
        s3.stat(key)
    except FileNotFoundError:
        return False
    return True


def nobody() -> str:
    """An address on which no Redis listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"redis://127.0.0.1:{taken.getsockname()[1]}/0"


# Submit


async def test_new_work_is_queued_with_its_bytes_kept(
    live: None,
    service: JobService,
    submission: Submission,
    queued: Callable[[], int],
    s3: S3Objects,
) -> None:
    snapshot = await service.submit(submission)

    seen = await service.get("ada", snapshot.fields["id"])
    assert (snapshot.state, seen.state, queued()) == ("queued", "queued", 1)
    assert s3.get(keys.upload_object("ada", seen.fields["upload"])) == submission.photo.data


async def test_what_submit_answers_is_what_the_record_says(
    live: None, service: JobService, submission: Submission
) -> None:
    fresh = await service.submit(submission)

    seen = await service.get("ada", fresh.fields["id"])
    assert {name: seen.fields[name] for name in fresh.fields} == dict(fresh.fields)


async def test_defaults_are_filled_in(
    live: None, service: JobService, submission: Submission
) -> None:
    snapshot = await service.submit(submission)

    assert json.loads(snapshot.fields["params"]) == {"gain": 1.5}


async def test_equal_work_is_joined_without_another_message(
    live: None, service: JobService, submission: Submission, queued: Callable[[], int]
) -> None:
    snapshots = [await service.submit(submission) for _ in range(3)]

    assert len({snapshot.fields["id"] for snapshot in snapshots}) == 3
    assert len({snapshot.fields["request_key"] for snapshot in snapshots}) == 1
    assert queued() == 1


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
    assert s3.get(keys.upload_object("ada", spec["upload"])) == submission.photo.data


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
    assert s3.get(keys.upload_object("ada", spec["upload"])) == submission.photo.data
    assert keys.upload_object("ada", spec["upload"]) == written[1], "it was queued with this one"

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


async def test_too_many_new_submissions_at_once_are_refused_at_once(
    live: None, service: JobService, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.jobs.limiter.MAX_NEW_IN_PROGRESS", 3)

    answers = await asyncio.gather(
        *(service.submit(submission) for _ in range(10)), return_exceptions=True
    )

    refused = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert 1 <= len(refused) <= 7 and {answer.status for answer in refused} == {429}
    assert (await service.submit(submission)).state == "queued", "there is room again"


async def test_requests_are_refused_while_too_many_wait_for_this_process(
    live: None, service: JobService, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.jobs.limiter.MAX_IN_PROGRESS", 2)
    waiting = [asyncio.create_task(service.submit(submission)) for _ in range(2)]

    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="2 requests") as refused:
        service.limiter.check()
    await asyncio.gather(*waiting)

    assert refused.value.status == 429
    service.limiter.check()


async def test_bytes_on_their_way_to_s3_keep_no_other_request_out(
    live: None, service: JobService, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.jobs.limiter.MAX_IN_PROGRESS", 1)
    sending, go_on = asyncio.Event(), asyncio.Event()

    async def slow_put(*_: object) -> None:
        sending.set()
        await go_on.wait()

    monkeypatch.setattr(service.uploads, "store", slow_put)
    first = asyncio.create_task(service.submit(submission))
    await asyncio.wait_for(sending.wait(), 5)

    service.limiter.check()

    go_on.set()
    assert (await first).state == "queued"


async def test_equal_requests_at_once_run_once(
    live: None, service: JobService, submission: Submission, queued: Callable[[], int]
) -> None:
    await asyncio.gather(*(service.submit(submission) for _ in range(40)))

    assert queued() == 1


async def test_what_is_given_as_its_default_is_equal_work(
    live: None, service: JobService, submission: Submission
) -> None:
    snapshots = [
        await service.submit(replace(submission, params=params))
        for params in ({}, {"gain": 1.5}, {"gain": "1.5"})
    ]

    assert len({snapshot.fields["request_key"] for snapshot in snapshots}) == 1


async def test_other_users_work_is_not_joined(
    live: None, service: JobService, submission: Submission, queued: Callable[[], int]
) -> None:
    await service.submit(submission)
    await service.submit(replace(submission, user="bob"))
    await asyncio.sleep(0)

    assert queued() == 2


async def test_a_cached_result_is_a_hit_without_a_message(
    live: None,
    service: JobService,
    submission: Submission,
    queued: Callable[[], int],
    cache: SyncRedis,
) -> None:
    first = await service.submit(submission)
    key = first.fields["request_key"]
    cache.do(stored_results.write(key, RESULT, 60))
    before = queued()

    snapshot = await service.submit(submission)

    assert (snapshot.state, snapshot.fields["cached"], snapshot.fields["result"]) == (
        "done",
        "1",
        RESULT,
    )
    assert queued() == before


async def test_a_cached_result_needs_no_bytes(
    live: None,
    service: JobService,
    submission: Submission,
    queued: Callable[[], int],
    cache: SyncRedis,
) -> None:
    key = (await service.submit(submission)).fields["request_key"]
    cache.do(stored_results.write(key, RESULT, 60))

    snapshot = await service.submit(replace(submission, photo=replace(submission.photo, data=b"")))

    assert snapshot.state == "done"


async def test_unknown_bytes_have_to_be_uploaded_first(
    live: None,
    service: JobService,
    submission: Submission,
    queued: Callable[[], int],
    state: "redis.Redis",
) -> None:
    with pytest.raises(UploadNeeded) as caught:
        await service.submit(replace(submission, photo=replace(submission.photo, data=b"")))

    assert (caught.value.code, caught.value.status) == ("upload_needed", 409)
    assert queued() == 0 and state.keys(f"{keys.JOB_PREFIX}*") == []


async def test_an_upload_that_is_there_needs_no_bytes(
    live: None, service: JobService, submission: Submission, queued: Callable[[], int]
) -> None:
    photo = replace(submission.photo, data=b"", upload="u1")

    snapshot = await service.submit(replace(submission, photo=photo))

    assert (snapshot.state, queued()) == ("queued", 1)


async def test_a_cache_that_does_not_answer_is_as_good_as_empty(
    live: None,
    in_process: None,
    s3: S3Objects,
    state_url: str,
    submission: Submission,
    queued: Callable[[], int],
) -> None:
    async with service_on(s3, state_url, nobody()) as (service, _):
        snapshot = await service.submit(submission)

    assert (snapshot.state, queued()) == ("queued", 1)


async def test_a_lasting_failure_is_answered_again(
    live: None,
    service: JobService,
    submission: Submission,
    queued: Callable[[], int],
    link: SyncRedis,
) -> None:
    first = await service.submit(submission)
    finish(link, first.fields["request_key"], "failed", lasting=True)
    before = queued()

    snapshot = await service.submit(submission)

    assert snapshot.state == "failed" and json.loads(snapshot.fields["error"])["code"] == "no_image"
    assert queued() == before


# Refusals


async def test_an_unknown_model_is_404_and_names_those_there_are(
    live: None, service: JobService, submission: Submission
) -> None:
    with pytest.raises(BadInput, match="no model 'tyo'; there are: toy") as caught:
        await service.submit(replace(submission, model="tyo"))

    assert (caught.value.code, caught.value.status) == ("no_model", 404)


async def test_before_any_worker_came_the_answer_says_so(
    service: JobService, submission: Submission
) -> None:
    with pytest.raises(Unavailable, match="no worker serves 'toy' at present"):
        await service.submit(submission)


async def test_a_model_that_no_worker_has_announced_again_to_the_emptied_catalogue_is_503(
    live: None, service: JobService, submission: Submission, state: "redis.Redis", link: SyncRedis
) -> None:
    await service.submit(submission)
    state.flushdb()
    service.catalogue._catalogue = None
    link.do(
        catalogue.announce(
            "gpu-2@host", {"queues": ["gpu.other"]}, {"other": {**CARD, "name": "other"}}
        )
    )

    with pytest.raises(Unavailable, match="no worker serves 'toy' at present"):
        await service.submit(submission)


@pytest.mark.parametrize(("node", "queue"), [("gpu-1@host", "gpu.toy"), ("cpu-1@host", "cpu")])
async def test_a_model_without_worker_for_half_a_minute_is_503(
    live: None,
    service: JobService,
    submission: Submission,
    state: "redis.Redis",
    node: str,
    queue: str,
) -> None:
    state.delete(keys.worker(node))
    state.hincrby(keys.SEEN, queue, -31_000)

    with pytest.raises(Unavailable) as caught:
        await service.submit(submission)

    assert (caught.value.code, caught.value.status) == ("no_worker", 503)


async def test_a_worker_that_restarts_is_waited_for(
    live: None, service: JobService, submission: Submission, state: "redis.Redis"
) -> None:
    state.delete(keys.worker("gpu-1@host"))

    assert (await service.submit(submission)).state == "queued"


async def test_the_catalogue_is_read_once_a_second(
    live: None, service: JobService, state: "redis.Redis"
) -> None:
    before = await service.catalogue.get()

    assert await service.catalogue.get() is before


async def test_bad_parameters_cost_no_job(
    live: None, service: JobService, submission: Submission, state: "redis.Redis"
) -> None:
    with pytest.raises(BadInput, match="unknown parameter 'gian'"):
        await service.submit(replace(submission, params={"gian": 2}))

    assert state.keys(f"{keys.JOB_PREFIX}*") == []


async def test_an_unknown_output_is_named(
    live: None, service: JobService, submission: Submission
) -> None:
    with pytest.raises(BadInput, match="no output 'gif'; there are: alpha, preview") as caught:
        await service.submit(replace(submission, output=["gif"]))

    assert caught.value.code == "bad_output"


async def test_a_full_priority_is_429(
    live: None, service: JobService, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.submit(submission)
    monkeypatch.setenv("PIXELMILL_MAX_WAITING", "1")
    settings.cache_clear()

    with pytest.raises(Unavailable, match="1 runs wait already; the limit is 1") as caught:
        await service.submit(replace(submission, user="bob"))

    assert (caught.value.code, caught.value.status) == ("busy", 429)


async def test_a_queue_of_slow_profiles_is_estimated_by_their_own_cost(
    link: SyncRedis,
    service: JobService,
    submission: Submission,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Drawn(Params):
        profile: str = "fast"

    fast, slow = ({"cost_ms": {"a": 0, "b": ms}, "max_batch": 1} for ms in (10, 4000))
    profiles = {"fast": fast, "slow": slow}
    card = {**CARD, **fast, "params": Drawn.model_json_schema(), "profiles": profiles}
    link.do(catalogue.announce("cpu-1@host", {"queues": ["cpu"]}, {}))
    link.do(catalogue.announce("gpu-1@host", {"queues": ["gpu.toy"]}, {"toy": card}))
    monkeypatch.setenv("PIXELMILL_MAX_WAIT_INTERACTIVE_S", "10")
    settings.cache_clear()

    snapshots = [
        await service.submit(replace(submission, user=user, params={"profile": "slow"}))
        for user in ("ada", "bob", "cy")
    ]
    seen = await service.get("cy", snapshots[2].fields["id"])
    with pytest.raises(Unavailable, match=r"the wait would be 12\.0 s; the limit is 10 s"):
        await service.submit(replace(submission, user="dee"))

    assert (seen.ahead, seen.wait_ms) == (2, 8000)
    assert (
        admission.eta_s(seen, card | {"mean_stage_ms": {"preprocess": 0, "postprocess": 0}}) == 12
    )


# What cannot be queued


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


async def test_an_accepted_job_whose_end_cannot_be_read_is_answered_as_it_was(
    servers: Stack, live: None, service: JobService, submission: Submission
) -> None:
    snapshot = await service.submit(submission)
    redis_server = servers.processes["state"].pid
    os.kill(redis_server, signal.SIGSTOP)
    began = time.monotonic()
    try:
        seen = await service.watcher.wait(snapshot, 30)
        took_s = time.monotonic() - began
    finally:
        os.kill(redis_server, signal.SIGCONT)

    assert seen.fields["id"] == snapshot.fields["id"] and seen.state == "queued"
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


async def test_a_state_redis_that_does_not_answer_is_reported_soon(
    in_process: None, s3: S3Objects, cache_url: str, submission: Submission
) -> None:
    async with service_on(s3, nobody(), cache_url) as (service, _):
        began = time.monotonic()

        with pytest.raises(StorageDown, match="the state Redis did not answer"):
            await service.submit(submission)

        assert time.monotonic() - began < 2.5


# Looking and waiting


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


async def test_waiting_gives_the_job_as_it_is_when_time_is_up(
    live: None, service: JobService, submission: Submission
) -> None:
    snapshot = await service.submit(submission)
    began = time.monotonic()

    after = await service.watcher.wait(snapshot, 0.2)

    assert after.state == "queued"
    assert 0.15 < time.monotonic() - began < 1.5


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
            link.do(
                runs.report(
                    "start",
                    [RunRef(key, 1)],
                    stage="preprocess",
                    state="preprocessing",
                    progress=0.05,
                    model="toy",
                    queue="cpu",
                    priority="interactive",
                )
            )
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


async def test_an_upload_is_remembered_by_its_original(
    service: JobService, link: SyncRedis
) -> None:
    photo = Photo("abc:web-2048", 5, media_type="image/png")

    await service.uploads.record("ada", "u1", photo, '"etag"')

    assert link.do(stored_uploads.find("ada", "abc", "web-2048")) == "u1"
    record = link.do(stored_uploads.read("ada", "u1"))
    assert (record["size"], record["type"], record["etag"]) == ("5", "image/png", '"etag"')
