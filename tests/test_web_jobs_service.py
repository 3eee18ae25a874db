"""What a web process asks of the work: submit, look, wait, on real Redis, S3 and queue."""

import asyncio
import json
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
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
from storage.s3.objects import S3Objects
from tasks.errors import BadInput, Unavailable
from tasks.models.base import Params
from tasks.settings import settings
from web.jobs import admission
from web.jobs.publisher import Publisher
from web.jobs.service import Photo, Pipeline, Request, UploadNeeded
from web.limits import STATE_LIMIT_S
from web.live.pubsub import Hub

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
async def pipeline(
    in_process: None, s3: S3Objects, state_url: str, cache_url: str
) -> AsyncIterator[Pipeline]:
    hub = Hub(state_url)
    state, cache = (AsyncRedis(url, limit_s=STATE_LIMIT_S) for url in (state_url, cache_url))
    made = Pipeline(state, cache, s3, hub)
    hub.start()
    with hub.listening("warm-up") as changes:
        await asyncio.wait_for(changes.heard(), 5)
    yield made
    await hub.stop()
    await made.close()
    await state.close()  # a test may have given the pipeline others
    await cache.close()


@pytest.fixture
async def other(
    in_process: None, s3: S3Objects, state_url: str, cache_url: str
) -> AsyncIterator[Pipeline]:
    """That of another web process; nobody waits there."""
    state, cache = (AsyncRedis(url, limit_s=STATE_LIMIT_S) for url in (state_url, cache_url))
    made = Pipeline(state, cache, s3, Hub(state_url))
    yield made
    await made.close()


@pytest.fixture
def request_() -> Request:
    """Somebody's photo, bytes and all, that nobody has sent before."""
    data = secrets.token_bytes(100)
    photo = Photo(f"{data.hex()}:body", len(data), data=data, media_type="image/png")
    return Request("ada", "toy", photo)


@pytest.fixture
def queued(state: "redis.Redis") -> Callable[[], int]:
    """How many messages lie in the cpu queue."""

    def count() -> int:
        priorities = ("", "\x06\x163", "\x06\x166", "\x06\x169")
        return sum(state.llen(f"{keys.BROKER_PREFIX}cpu{priority}") for priority in priorities)

    return count


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
    live: None, pipeline: Pipeline, request_: Request, queued: Callable[[], int], s3: S3Objects
) -> None:
    view = await pipeline.submit(request_)

    seen = await pipeline.view("ada", view.fields["id"])
    assert (view.state, seen.state, queued()) == ("queued", "queued", 1)
    assert s3.get(keys.upload_object("ada", seen.fields["upload"])) == request_.photo.data


async def test_what_submit_answers_is_what_the_record_says(
    live: None, pipeline: Pipeline, request_: Request
) -> None:
    fresh = await pipeline.submit(request_)

    seen = await pipeline.view("ada", fresh.fields["id"])
    assert {name: seen.fields[name] for name in fresh.fields} == dict(fresh.fields)


async def test_defaults_are_filled_in(live: None, pipeline: Pipeline, request_: Request) -> None:
    view = await pipeline.submit(request_)

    assert json.loads(view.fields["params"]) == {"gain": 1.5}


async def test_equal_work_is_joined_without_another_message(
    live: None, pipeline: Pipeline, request_: Request, queued: Callable[[], int]
) -> None:
    views = [await pipeline.submit(request_) for _ in range(3)]

    assert len({view.fields["id"] for view in views}) == 3
    assert len({view.fields["request_key"] for view in views}) == 1
    assert queued() == 1


async def test_who_joins_a_run_whose_leader_died_brings_the_bytes(
    live: None,
    pipeline: Pipeline,
    request_: Request,
    queued: Callable[[], int],
    s3: S3Objects,
    state: "redis.Redis",
) -> None:
    leader = asyncio.create_task(pipeline.submit(request_))
    while not pipeline._bringing:
        await asyncio.sleep(0)
    leader.cancel()
    with suppress(asyncio.CancelledError):
        await leader

    view = await pipeline.submit(request_)

    spec = json.loads(state.hget(keys.run(view.fields["request_key"]), "spec"))
    assert queued() == 1
    assert s3.get(keys.upload_object("ada", spec["upload"])) == request_.photo.data


async def test_two_web_processes_with_the_same_bytes_never_write_one_object(
    live: None,
    pipeline: Pipeline,
    other: Pipeline,
    request_: Request,
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
    leader = asyncio.create_task(pipeline.submit(request_))
    while not written:
        await asyncio.sleep(0.01)

    joined = await other.submit(request_)
    queued_by_the_other = queued()
    is_stored.set()
    led = await leader

    spec = json.loads(state.hget(keys.run(joined.fields["request_key"]), "spec"))
    assert joined.fields["request_key"] == led.fields["request_key"]
    assert (queued_by_the_other, queued()) == (1, 1)
    assert len(set(written)) == len(written) == 2
    assert s3.get(keys.upload_object("ada", spec["upload"])) == request_.photo.data
    assert keys.upload_object("ada", spec["upload"]) == written[1], "it was queued with this one"

    for view in (led, joined):
        assert not [key for key in written if not is_there(s3, key)], (
            "a job that is left needs both"
        )
        await other.delete("ada", view.fields["id"])
    assert not [key for key in written if is_there(s3, key)]


async def test_who_joins_a_run_that_is_queued_changes_nothing_of_it(
    live: None, pipeline: Pipeline, request_: Request, state: "redis.Redis", link: SyncRedis
) -> None:
    view = await pipeline.submit(request_)
    key = view.fields["request_key"]
    before = state.hget(keys.run(key), "spec")

    taken = link.do(
        claims.replace_upload(RunRef(key, 1), spec_from_json(before), view.fields["id"])
    )
    stale = link.do(
        claims.replace_upload(RunRef(key, 7), spec_from_json(before), view.fields["id"])
    )

    assert (taken, stale, state.hget(keys.run(key), "spec")) == (False, False, before)


async def test_too_many_at_once_are_refused_at_once(
    live: None, pipeline: Pipeline, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.jobs.service.ENTERING", 3)

    answers = await asyncio.gather(
        *(pipeline.submit(request_) for _ in range(10)), return_exceptions=True
    )

    refused = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert 1 <= len(refused) <= 7 and {answer.status for answer in refused} == {429}
    assert (await pipeline.submit(request_)).state == "queued", "there is room again"


async def test_there_is_no_room_while_too_many_wait_for_this_process(
    live: None, pipeline: Pipeline, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.jobs.service.AT_HAND", 2)
    waiting = [asyncio.create_task(pipeline.submit(request_)) for _ in range(2)]

    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="2 requests") as refused:
        pipeline.check_room()
    await asyncio.gather(*waiting)

    assert refused.value.status == 429
    pipeline.check_room()


async def test_bytes_on_their_way_to_s3_keep_nobody_out(
    live: None, pipeline: Pipeline, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.jobs.service.AT_HAND", 1)
    sending, let_go = asyncio.Event(), asyncio.Event()

    async def slow_put(*_: object) -> None:
        sending.set()
        await let_go.wait()

    monkeypatch.setattr(pipeline, "_keep", slow_put)
    leader = asyncio.create_task(pipeline.submit(request_))
    await asyncio.wait_for(sending.wait(), 5)

    pipeline.check_room()

    let_go.set()
    assert (await leader).state == "queued"


async def test_equal_requests_at_once_run_once(
    live: None, pipeline: Pipeline, request_: Request, queued: Callable[[], int]
) -> None:
    await asyncio.gather(*(pipeline.submit(request_) for _ in range(40)))

    assert queued() == 1


async def test_what_is_given_as_its_default_is_equal_work(
    live: None, pipeline: Pipeline, request_: Request
) -> None:
    views = [
        await pipeline.submit(replace(request_, params=params))
        for params in ({}, {"gain": 1.5}, {"gain": "1.5"})
    ]

    assert len({view.fields["request_key"] for view in views}) == 1


async def test_other_users_work_is_not_joined(
    live: None, pipeline: Pipeline, request_: Request, queued: Callable[[], int]
) -> None:
    await pipeline.submit(request_)
    await pipeline.submit(replace(request_, user="bob"))
    await asyncio.sleep(0)

    assert queued() == 2


async def test_a_cached_result_is_a_hit_without_a_message(
    live: None, pipeline: Pipeline, request_: Request, queued: Callable[[], int]
) -> None:
    first = await pipeline.submit(request_)
    key = first.fields["request_key"]
    await pipeline.cache.do(stored_results.write(key, RESULT, 60))
    before = queued()

    view = await pipeline.submit(request_)

    assert (view.state, view.fields["cached"], view.fields["result"]) == ("done", "1", RESULT)
    assert queued() == before


async def test_a_cached_result_needs_no_bytes(
    live: None, pipeline: Pipeline, request_: Request, queued: Callable[[], int]
) -> None:
    key = (await pipeline.submit(request_)).fields["request_key"]
    await pipeline.cache.do(stored_results.write(key, RESULT, 60))

    view = await pipeline.submit(replace(request_, photo=replace(request_.photo, data=b"")))

    assert view.state == "done"


async def test_unknown_bytes_have_to_be_uploaded_first(
    live: None,
    pipeline: Pipeline,
    request_: Request,
    queued: Callable[[], int],
    state: "redis.Redis",
) -> None:
    with pytest.raises(UploadNeeded) as caught:
        await pipeline.submit(replace(request_, photo=replace(request_.photo, data=b"")))

    assert (caught.value.code, caught.value.status) == ("upload_needed", 409)
    assert queued() == 0 and state.keys(f"{keys.JOB_PREFIX}*") == []


async def test_an_upload_that_is_there_needs_no_bytes(
    live: None, pipeline: Pipeline, request_: Request, queued: Callable[[], int]
) -> None:
    photo = replace(request_.photo, data=b"", upload="u1")

    view = await pipeline.submit(replace(request_, photo=photo))

    assert (view.state, queued()) == ("queued", 1)


async def test_a_cache_that_is_away_is_a_cache_that_is_empty(
    live: None, pipeline: Pipeline, request_: Request, queued: Callable[[], int]
) -> None:
    pipeline.cache = AsyncRedis(nobody(), "the cache Redis", STATE_LIMIT_S)

    view = await pipeline.submit(request_)

    assert (view.state, queued()) == ("queued", 1)


async def test_a_lasting_failure_is_answered_again(
    live: None, pipeline: Pipeline, request_: Request, queued: Callable[[], int], link: SyncRedis
) -> None:
    first = await pipeline.submit(request_)
    finish(link, first.fields["request_key"], "failed", lasting=True)
    before = queued()

    view = await pipeline.submit(request_)

    assert view.state == "failed" and json.loads(view.fields["error"])["code"] == "no_image"
    assert queued() == before


# Refusals


async def test_an_unknown_model_is_404_and_names_those_there_are(
    live: None, pipeline: Pipeline, request_: Request
) -> None:
    with pytest.raises(BadInput, match="no model 'tyo'; there are: toy") as caught:
        await pipeline.submit(replace(request_, model="tyo"))

    assert (caught.value.code, caught.value.status) == ("no_model", 404)


async def test_before_any_worker_came_the_answer_says_so(
    pipeline: Pipeline, request_: Request
) -> None:
    with pytest.raises(Unavailable, match="no worker serves 'toy' at present"):
        await pipeline.submit(request_)


async def test_a_model_that_the_emptied_catalogue_has_yet_to_hear_of_again_is_503(
    live: None, pipeline: Pipeline, request_: Request, state: "redis.Redis", link: SyncRedis
) -> None:
    await pipeline.submit(request_)
    state.flushdb()
    pipeline._catalogue = None
    link.do(
        catalogue.announce(
            "gpu-2@host", {"queues": ["gpu.other"]}, {"other": {**CARD, "name": "other"}}
        )
    )

    with pytest.raises(Unavailable, match="no worker serves 'toy' at present"):
        await pipeline.submit(request_)


@pytest.mark.parametrize(("node", "queue"), [("gpu-1@host", "gpu.toy"), ("cpu-1@host", "cpu")])
async def test_a_model_without_worker_for_half_a_minute_is_503(
    live: None,
    pipeline: Pipeline,
    request_: Request,
    state: "redis.Redis",
    node: str,
    queue: str,
) -> None:
    state.delete(keys.worker(node))
    state.hincrby(keys.SEEN, queue, -31_000)

    with pytest.raises(Unavailable) as caught:
        await pipeline.submit(request_)

    assert (caught.value.code, caught.value.status) == ("no_worker", 503)


async def test_a_worker_that_restarts_is_waited_for(
    live: None, pipeline: Pipeline, request_: Request, state: "redis.Redis"
) -> None:
    state.delete(keys.worker("gpu-1@host"))

    assert (await pipeline.submit(request_)).state == "queued"


async def test_the_catalogue_is_asked_once_a_second(
    live: None, pipeline: Pipeline, state: "redis.Redis"
) -> None:
    before = await pipeline.catalogue()

    assert await pipeline.catalogue() is before


async def test_bad_parameters_cost_no_job(
    live: None, pipeline: Pipeline, request_: Request, state: "redis.Redis"
) -> None:
    with pytest.raises(BadInput, match="unknown parameter 'gian'"):
        await pipeline.submit(replace(request_, params={"gian": 2}))

    assert state.keys(f"{keys.JOB_PREFIX}*") == []


async def test_an_unknown_output_is_named(
    live: None, pipeline: Pipeline, request_: Request
) -> None:
    with pytest.raises(BadInput, match="no output 'gif'; there are: alpha, preview") as caught:
        await pipeline.submit(replace(request_, output=["gif"]))

    assert caught.value.code == "bad_output"


async def test_a_full_priority_is_429(
    live: None, pipeline: Pipeline, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pipeline.submit(request_)
    monkeypatch.setenv("PIXELMILL_MAX_WAITING", "1")
    settings.cache_clear()

    with pytest.raises(Unavailable, match="1 runs wait already; the limit is 1") as caught:
        await pipeline.submit(replace(request_, user="bob"))

    assert (caught.value.code, caught.value.status) == ("busy", 429)


async def test_a_queue_of_slow_profiles_is_estimated_by_their_own_cost(
    link: SyncRedis,
    pipeline: Pipeline,
    request_: Request,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Drawn(Params):
        profile: str = "fast"

    fast, slow = ({"cost_ms": {"a": 0, "b": ms}, "max_batch": 1} for ms in (10, 4000))
    profiles = {"fast": fast, "slow": slow}
    told = {**CARD, **fast, "params": Drawn.model_json_schema(), "profiles": profiles}
    link.do(catalogue.announce("cpu-1@host", {"queues": ["cpu"]}, {}))
    link.do(catalogue.announce("gpu-1@host", {"queues": ["gpu.toy"]}, {"toy": told}))
    monkeypatch.setenv("PIXELMILL_MAX_WAIT_INTERACTIVE_S", "10")
    settings.cache_clear()

    views = [
        await pipeline.submit(replace(request_, user=user, params={"profile": "slow"}))
        for user in ("ada", "bob", "cy")
    ]
    seen = await pipeline.view("cy", views[2].fields["id"])
    with pytest.raises(Unavailable, match=r"the wait would be 12\.0 s; the limit is 10 s"):
        await pipeline.submit(replace(request_, user="dee"))

    assert (seen.ahead, seen.wait_ms) == (2, 8000)
    assert (
        admission.eta_s(seen, told | {"mean_stage_ms": {"preprocess": 0, "postprocess": 0}}) == 12
    )


# What cannot be queued


async def test_bytes_that_cannot_be_kept_end_the_run_for_all_who_joined(
    live: None, pipeline: Pipeline, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, hold = threading.Event(), threading.Event()

    def put(key: str, data: bytes, content_type: str) -> str:
        begun.set()
        assert hold.wait(5)
        raise StorageDown("S3 did not answer put_object")

    monkeypatch.setattr(pipeline.objects, "put", put)
    leading = asyncio.create_task(pipeline.submit(request_))
    await asyncio.to_thread(begun.wait, 5)
    joined = await pipeline.submit(request_)
    hold.set()

    with pytest.raises(StorageDown):
        await leading

    ended = await pipeline.view("ada", joined.fields["id"])
    assert ended.state == "failed"
    assert json.loads(ended.fields["error"])["code"] == "unavailable"


async def test_a_queue_that_is_away_ends_the_run(
    live: None,
    pipeline: Pipeline,
    request_: Request,
    state: "redis.Redis",
) -> None:
    pipeline.publisher = Publisher(AsyncRedis(nobody(), "the queue", STATE_LIMIT_S))

    with pytest.raises(Unavailable, match="the queue does not answer"):
        await pipeline.submit(request_)

    [job] = state.keys(f"{keys.JOB_PREFIX}*")
    assert state.hget(job, "state") == "failed"


async def test_a_state_redis_that_falls_silent_after_the_claim_is_said_soon(
    servers: Stack,
    live: None,
    pipeline: Pipeline,
    request_: Request,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    redis_server = servers.processes["state"].pid

    def put(key: str, data: bytes, content_type: str) -> str:
        os.kill(redis_server, signal.SIGSTOP)
        return '"etag"'

    monkeypatch.setattr(pipeline.objects, "put", put)
    began = time.monotonic()
    try:
        with pytest.raises((StorageDown, Unavailable)):
            await pipeline.submit(request_)
        took_s = time.monotonic() - began
    finally:
        os.kill(redis_server, signal.SIGCONT)

    assert took_s < 2


async def test_an_accepted_job_whose_end_cannot_be_seen_is_answered_as_it_was(
    servers: Stack, live: None, pipeline: Pipeline, request_: Request
) -> None:
    view = await pipeline.submit(request_)
    redis_server = servers.processes["state"].pid
    os.kill(redis_server, signal.SIGSTOP)
    began = time.monotonic()
    try:
        seen = await pipeline.wait(view, 30)
        took_s = time.monotonic() - began
    finally:
        os.kill(redis_server, signal.SIGCONT)

    assert seen.fields["id"] == view.fields["id"] and seen.state == "queued"
    assert took_s < 2


async def test_what_could_not_be_queued_is_led_again_at_the_next_try(
    live: None,
    pipeline: Pipeline,
    request_: Request,
    queued: Callable[[], int],
) -> None:
    pipeline.publisher = Publisher(AsyncRedis(nobody(), "the queue", STATE_LIMIT_S))
    with pytest.raises(Unavailable):
        await pipeline.submit(request_)

    pipeline.publisher = Publisher(pipeline.state)

    assert (await pipeline.submit(request_)).state == "queued"
    assert queued() == 1


async def test_a_state_redis_that_is_away_is_said_soon(
    live: None, pipeline: Pipeline, request_: Request
) -> None:
    pipeline.state = AsyncRedis(nobody(), "the state Redis", STATE_LIMIT_S)
    began = time.monotonic()

    with pytest.raises(StorageDown, match="the state Redis did not answer"):
        await pipeline.submit(request_)

    assert time.monotonic() - began < 2.5


# Looking and waiting


async def test_another_users_job_is_404(live: None, pipeline: Pipeline, request_: Request) -> None:
    view = await pipeline.submit(request_)

    with pytest.raises(BadInput) as caught:
        await pipeline.view("bob", view.fields["id"])

    assert (caught.value.code, caught.value.status) == ("no_job", 404)


async def test_a_job_that_never_was_gets_the_same_answer(pipeline: Pipeline) -> None:
    with pytest.raises(BadInput, match="no job 'made-up'") as caught:
        await pipeline.view("ada", "made-up")

    assert (caught.value.code, caught.value.status) == ("no_job", 404)


async def test_waiting_ends_with_the_job(
    live: None, pipeline: Pipeline, request_: Request, link: SyncRedis
) -> None:
    view = await pipeline.submit(request_)
    waiting = asyncio.create_task(pipeline.wait(view, 10))
    await asyncio.sleep(0.05)
    began = time.monotonic()

    finish(link, view.fields["request_key"])

    ended = await waiting
    assert (ended.state, ended.fields["result"]) == ("done", RESULT)
    assert time.monotonic() - began < 1, "woken, not polled"


async def test_all_who_joined_are_woken(
    live: None, pipeline: Pipeline, request_: Request, link: SyncRedis
) -> None:
    views = [await pipeline.submit(request_) for _ in range(5)]
    waiting = [asyncio.create_task(pipeline.wait(view, 10)) for view in views]
    await asyncio.sleep(0.05)

    finish(link, views[0].fields["request_key"])

    assert [ended.state for ended in await asyncio.gather(*waiting)] == ["done"] * 5


async def test_waiting_gives_the_job_as_it_is_when_time_is_up(
    live: None, pipeline: Pipeline, request_: Request
) -> None:
    view = await pipeline.submit(request_)
    began = time.monotonic()

    after = await pipeline.wait(view, 0.2)

    assert after.state == "queued"
    assert 0.15 < time.monotonic() - began < 1.5


async def test_an_end_that_nobody_heard_of_is_found_all_the_same(
    live: None,
    pipeline: Pipeline,
    request_: Request,
    link: SyncRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pub/sub may lose a message; the record does not."""
    monkeypatch.setattr(pipeline.hub, "_take", lambda word: None)
    view = await pipeline.submit(request_)
    waiting = asyncio.create_task(pipeline.wait(view, 10))
    await asyncio.sleep(0.05)

    finish(link, view.fields["request_key"])

    assert (await waiting).state == "done"


async def test_watching_every_change_shows_the_way(
    live: None, pipeline: Pipeline, request_: Request, link: SyncRedis
) -> None:
    view = await pipeline.submit(request_)
    key = view.fields["request_key"]
    seen: list[str] = []

    async for now in pipeline.watch(view):
        seen.append(now.state)
        if now.state == "queued":
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
        if now.state == "preprocessing":
            finish(link, key)

    assert seen == ["queued", "preprocessing", "done"]


async def test_watching_an_ended_job_shows_it_once(
    live: None, pipeline: Pipeline, request_: Request, link: SyncRedis
) -> None:
    view = await pipeline.submit(request_)
    finish(link, view.fields["request_key"])

    seen = [now.state async for now in pipeline.watch(view)]

    assert seen == ["done"]
    assert pipeline.hub.listeners == {}


async def test_an_upload_is_remembered_by_its_original(pipeline: Pipeline, link: SyncRedis) -> None:
    photo = Photo("abc:web-2048", 5, media_type="image/png")

    await pipeline.remember_upload("ada", "u1", photo, '"etag"')

    assert link.do(stored_uploads.find("ada", "abc", "web-2048")) == "u1"
    record = link.do(stored_uploads.read("ada", "u1"))
    assert (record["size"], record["type"], record["etag"]) == ("5", "image/png", '"etag"')
