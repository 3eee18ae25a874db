"""Whoever asks for it is forgotten: nothing of theirs is left in either Redis nor in S3."""

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import everything
import httpx
import pytest
import redis
from fresh import fresh_photo
from job_calls import KEY, Calls
from stack import Stack

from storage import api_keys, audit, erasure, keys, object_keys, quota_keys, results
from storage import uploads as stored_uploads
from storage.jobs.spec import RunRef
from storage.redis.calls import AsyncRedis, SyncRedis
from storage.s3.objects import PRESIGN_S, S3Objects
from web.limits import CACHE_LIMIT_S, STATE_LIMIT_S
from web.maintenance.erasure import SENDING_S, Eraser

pytest_plugins = ["inprocess", "job_calls"]

WITHIN_S = 60
NOTES = frozenset(name.encode() for name in (*audit.STREAMS, keys.ERASED))
"""They say that there was an erasure, and of whom."""


@pytest.fixture
def visitor(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=90) as client:
        yield client


@pytest.fixture
def other(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=90) as client:
        yield client


def predict(client: httpx.Client, model: str = "toy", **query: object) -> dict[str, Any]:
    asked: dict[str, Any] = {"wait": 60, **query}
    job: dict[str, Any] = client.post(
        f"/api/v1/predict/{model}",
        content=fresh_photo(),
        params=asked,
        headers={"idempotency-key": "k"},
    ).json()
    return job


def user_of(stack: Stack, job: dict[str, Any]) -> str:
    user = stack.state.hget(keys.job(job["id"]), "user")
    assert isinstance(user, bytes)
    return user.decode()


def traces(stack: Stack, user: str) -> list[bytes]:
    """What an installation has of a user, wherever it is."""
    texts = itertools.chain(
        everything.in_redis(stack.client("state"), but=NOTES),
        everything.in_redis(stack.client("cache")),
        everything.in_folder(stack.folder / "s3"),
    )
    return [text[:200] for text in texts if user.encode() in text]


def use_everything(client: httpx.Client) -> dict[str, Any]:
    """Whatever leaves something behind: jobs of all kinds, an upload of no job, a link."""
    done = predict(client)
    share = {"object": next(iter(done["result"]["objects"]))}
    client.post(f"/api/v1/jobs/{done['id']}/shares", json=share).raise_for_status()
    predict(client, gain="much")
    client.post("/api/v1/predict/toy?wait=60", content=fresh_photo()[:60])
    data = fresh_photo()
    asked = {"size": len(data), "type": "image/png"}
    upload = client.post("/api/v1/uploads", json=asked).raise_for_status().json()["upload"]
    httpx.put(upload["url"], content=data, headers=upload["headers"]).raise_for_status()
    client.post("/api/v1/uploads", json=asked).raise_for_status()
    client.post("/api/v1/predict/slow?wait=0&prepare_s=8", content=fresh_photo()).raise_for_status()
    return done


def test_nothing_of_a_visitor_is_left_and_everything_of_others(
    stack: Stack, visitor: httpx.Client, other: httpx.Client
) -> None:
    user, theirs = user_of(stack, use_everything(visitor)), predict(other)
    assert len(traces(stack, user)) > 10
    began_s = time.monotonic()

    erased = visitor.delete("/api/v1/me/data", params={"wait": WITHIN_S})

    assert (erased.status_code, erased.json()) == (200, {"state": "erased"})
    assert time.monotonic() - began_s < WITHIN_S
    assert traces(stack, user) == []
    again = other.get(f"/api/v1/jobs/{theirs['id']}").json()
    assert again["state"] == "done"
    [image, *_] = again["result"]["objects"].values()
    assert httpx.get(image["url"]).status_code == 200


def test_a_visitor_who_was_forgotten_comes_as_somebody_new(
    stack: Stack, visitor: httpx.Client
) -> None:
    user = user_of(stack, predict(visitor))

    visitor.delete("/api/v1/me/data").raise_for_status()

    assert not visitor.cookies
    assert user_of(stack, predict(visitor)) != user


def test_an_account_stays_and_its_keys_go(stack: Stack) -> None:
    link, key = SyncRedis(stack.state), f"key-to-be-erased-{secrets.token_hex(4)}"
    stack.state.hset(keys.user("erased-user"), mapping={"role": "user", "password": "none"})
    link.do(api_keys.add(key, "erased-user"))
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=90) as client:
        predict(client)
        assert client.delete(f"/api/v1/me/data?wait={WITHIN_S}").json() == {"state": "erased"}
        time.sleep(4)  # other processes may know the key for a moment
        refused = client.get("/api/v1/jobs")

    assert refused.status_code == 401
    names = [quota_keys.usage("erased-user"), keys.user("erased-user")]
    left = sorted(text.split()[0] for text in traces(stack, "erased-user"))
    assert left == [name.encode() for name in names], "the account, and what it has used"
    stack.state.delete(*names)


@pytest.fixture
async def eraser(
    in_process: None, s3: S3Objects, state_url: str, cache_url: str
) -> AsyncIterator[Eraser]:
    state = AsyncRedis(state_url, "the state Redis", STATE_LIMIT_S)
    cache = AsyncRedis(cache_url, "the cache Redis", CACHE_LIMIT_S)
    yield Eraser(state, cache, s3)
    await state.close()
    await cache.close()


async def finished(eraser: Eraser, link: SyncRedis, user: str = "ada") -> int:
    """Turns until nothing of the user is left."""
    for number in itertools.count(1):
        await eraser.turn(link.do(erasure.requested()))
        if not link.do(erasure.is_requested(user)):
            return number
        await asyncio.sleep(0.1)
        assert number < 20
    raise AssertionError


async def test_another_process_goes_on_after_a_crash(
    eraser: Eraser, link: SyncRedis, calls: Calls, state: "redis.Redis", s3: S3Objects
) -> None:
    calls.claim("j1")
    s3.put(object_keys.upload_object("ada", "u1"), b"x", "image/png")
    link.do(erasure.request("ada", with_account=True))
    link.do(erasure.lock("another", 400))  # of a process that died

    await eraser.tick()
    waited = link.do(erasure.is_requested("ada"))
    await asyncio.sleep(0.5)
    for _ in range(10):
        await eraser.tick()

    assert waited and not link.do(erasure.is_requested("ada"))
    assert not [
        text for text in everything.in_redis(state_bytes(state), but=NOTES) if b"ada" in text[:60]
    ]
    assert s3.page(object_keys.uploads_folder("ada"), "", 10) == []


async def test_a_process_that_was_too_slow_leaves_the_lock_to_the_next(
    eraser: Eraser, link: SyncRedis, calls: Calls, state: "redis.Redis"
) -> None:
    async def turn_in_which_the_lock_expires(users: Mapping[str, bool]) -> None:
        state.delete(keys.ERASURE_LOCK)
        assert link.do(erasure.lock("another", 60_000))
        await Eraser.turn(eraser, users)

    calls.claim("j1")
    link.do(erasure.request("ada", with_account=True))
    eraser.turn = turn_in_which_the_lock_expires  # type: ignore[assignment, method-assign]

    await eraser.tick()

    assert state.get(keys.ERASURE_LOCK) == "another"
    assert link.do(erasure.is_requested("ada")), "the other one says when nothing is left"


async def test_what_is_sent_by_an_address_of_before_is_erased_once_that_is_over(
    eraser: Eraser, link: SyncRedis, state: "redis.Redis", s3: S3Objects
) -> None:
    old, new = (object_keys.upload_object("late", name) for name in ("old", "new"))
    link.do(erasure.request("late", with_account=False))
    await finished(eraser, link, "late")
    s3.put(old, b"x", "image/png")
    s3.put(new, b"x", "image/png")
    link.do(stored_uploads.write("late", "new", {"size": 1}, ttl_s=60))

    await eraser.tick()
    too_early = [item.key for item in s3.page(object_keys.uploads_folder("late"), "", 10)]
    due_in_s = (state.zscore(keys.ERASED, "late") or 0) - time.time()
    state.zadd(keys.ERASED, {"late": 1})
    await eraser.tick()
    left = [item.key for item in s3.page(object_keys.uploads_folder("late"), "", 10)]
    s3.delete(new)

    assert too_early == [new, old] and due_in_s == pytest.approx(PRESIGN_S + SENDING_S, abs=60)
    assert left == [new], "whoever goes on using the account keeps what they send"
    assert not state.exists(keys.ERASED)


def state_bytes(client: "redis.Redis") -> "redis.Redis":
    """The same database, answering bytes."""
    place = client.connection_pool.connection_kwargs
    return redis.Redis(host=place["host"], port=place["port"], db=place["db"])


async def test_a_run_under_way_is_cancelled_first_and_waited_for(
    eraser: Eraser, link: SyncRedis, calls: Calls, state: "redis.Redis"
) -> None:
    calls.claim("j1")
    calls.begin_stage(RunRef(KEY, 1))
    link.do(erasure.request("ada", with_account=True))

    await eraser.turn({"ada": True})
    await eraser.turn({"ada": True})
    cancelled = state.hget(keys.run(KEY), "cancelled")
    waits = link.do(erasure.is_requested("ada"))
    calls.end_stage(RunRef(KEY, 1))  # the worker reports
    await finished(eraser, link)

    assert cancelled == "1" and waits
    assert not state.exists(keys.run(KEY)) and not state.exists(keys.job("j1"))


async def test_a_job_that_comes_after_the_history_was_erased_leaves_no_trace(
    eraser: Eraser, link: SyncRedis, calls: Calls, state: "redis.Redis"
) -> None:
    calls.claim("newcomer")
    link.do(erasure.forget_entries("ada", ["newcomer"]))
    link.do(erasure.request("ada", with_account=True))

    await finished(eraser, link)

    texts = everything.in_redis(state_bytes(state))
    assert [text for text in texts if b"newcomer" in text or KEY.encode() in text] == []


async def test_names_that_begin_alike_are_kept_apart(
    eraser: Eraser, link: SyncRedis, state: "redis.Redis", s3: S3Objects
) -> None:
    kept = {keys.model("ada")}
    for user in ("ada", "adam", "a", "da"):
        link.do(stored_uploads.write(user, "u1", {"size": 1}, ttl_s=60, original=("h", "v")))
        s3.put(object_keys.upload_object(user, "u1"), b"x", "image/png")
        state.hset(keys.session_events(user, "ada"), "e", "{}")
        if user != "ada":
            kept |= {keys.upload(user, "u1"), keys.session_events(user, "ada")}
    state.hset(keys.model("ada"), "x", "y")
    link.do(erasure.request("ada", with_account=True))

    await finished(eraser, link)

    assert kept <= set(state.scan_iter())
    assert not state.exists(keys.upload("ada", "u1"), keys.session_events("ada", "ada"))
    assert s3.page(object_keys.uploads_folder("adam"), "", 10)
    assert not s3.page(object_keys.uploads_folder("ada"), "", 10)
    for user in ("adam", "a", "da"):
        s3.delete(object_keys.upload_object(user, "u1"))


async def test_cached_results_are_found_without_their_jobs(
    eraser: Eraser, link: SyncRedis, cache_url: str
) -> None:
    with redis.Redis.from_url(cache_url) as client:
        cache = SyncRedis(client)
        for user in ("ada", "bob"):
            folder = object_keys.result_folder(user, "k")
            stored = f'{{"kind":"matte","objects":{{"alpha":{{"key":"{folder}1/alpha.png"}}}}}}'
            cache.do(results.write(f"key-of-{user}", stored, 60))
            cache.do(results.exchange_location(f"content-of-{user}", folder, 60))
        link.do(erasure.request("ada", with_account=False))

        await finished(eraser, link)

        left = {name.decode() for name in client.scan_iter()}
    assert left == {keys.result("key-of-bob"), keys.result_location("content-of-bob")}
