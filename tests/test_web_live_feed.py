"""Deltas of a user's jobs on real Redis: a snapshot first, nothing lost, no other user's."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress

import pytest
import redis
import runs

from storage import keys
from storage.errors import StorageDown
from storage.jobs import snapshots
from storage.jobs.snapshots import JobSnapshots
from storage.redis.calls import AsyncRedis, Call, SyncRedis
from web.limits import STATE_LIMIT_S
from web.live import feed, pubsub
from web.live.feed import NEVER, Delta, Feed
from web.live.pubsub import PubSub
from web.live.snapshots import SnapshotReader

pytest_plugins = ["inprocess"]

PATIENCE_S = 8


class Process:
    """Feeds of one process: pub/sub, and a connection to read snapshots with."""

    def __init__(self, state_url: str) -> None:
        self.pubsub = PubSub(state_url)
        self.state = AsyncRedis(state_url, limit_s=STATE_LIMIT_S)
        self.reader = SnapshotReader(lambda ids: self.state.do(snapshots.read(ids)))

    def follow(
        self, user: str = "ada", named: tuple[str, ...] = (), since_ms: float = NEVER
    ) -> Feed:
        return Feed(self.pubsub, self.reader, self.state, user, named, since_ms)


@pytest.fixture
async def process(state_url: str) -> AsyncIterator[Process]:
    made = Process(state_url)
    made.pubsub.start()
    with made.pubsub.subscribed("warm-up") as subscription:
        await subscription.messages()
    yield made
    await made.pubsub.stop()
    await made.pubsub.close()
    await made.state.close()


async def read_until(
    deltas: AsyncIterator[Delta], is_enough: Callable[[dict[str, list[str]]], bool]
) -> Delta:
    """Reads on until the states of each job that have come are enough; the last delta."""
    states: dict[str, list[str]] = {}
    async with asyncio.timeout(PATIENCE_S):
        async for delta in deltas:
            for snapshot in delta.jobs:
                states.setdefault(snapshot.fields["id"], []).append(snapshot.state)
            if is_enough(states):
                return delta
    raise AssertionError(f"the feed ended: {states}")


async def test_what_is_under_way_comes_first(process: Process, link: SyncRedis) -> None:
    jobs = [runs.claim(link, "ada") for _ in range(3)]
    jobs[0].begin_stage("preprocess")

    async with aclosing(process.follow()) as deltas:
        first = await anext(deltas)

    states = {snapshot.fields["id"]: snapshot.state for snapshot in first.jobs}
    assert states == {jobs[0].id: "preprocessing", jobs[1].id: "queued", jobs[2].id: "queued"}


async def test_what_had_ended_is_not_sent(process: Process, link: SyncRedis) -> None:
    runs.claim(link, "ada").finish()

    async with aclosing(process.follow()) as deltas:
        assert (await anext(deltas)).jobs == []


async def test_a_named_job_is_answered_even_if_it_has_ended(
    process: Process, link: SyncRedis
) -> None:
    job = runs.claim(link, "ada")
    job.finish()

    async with aclosing(process.follow(named=(job.id,))) as deltas:
        [snapshot] = (await anext(deltas)).jobs

    assert (snapshot.fields["id"], snapshot.state) == (job.id, "done")


async def test_every_change_is_answered_to_the_end(process: Process, link: SyncRedis) -> None:
    job = runs.claim(link, "ada")
    seen: list[str] = []

    async with aclosing(process.follow()) as deltas, asyncio.timeout(PATIENCE_S):
        async for delta in deltas:
            for snapshot in delta.jobs:
                seen.append(snapshot.state)
                if snapshot.state == "queued":
                    job.begin_stage("preprocess")
                elif snapshot.state == "preprocessing":
                    job.finish()
            if seen[-1:] == ["done"]:
                break

    assert seen == ["queued", "preprocessing", "done"]


async def test_a_new_job_is_followed_at_once(
    process: Process, link: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pubsub, "RESYNC_S", 3600)
    async with aclosing(process.follow()) as deltas:
        await anext(deltas)
        job = runs.claim(link, "ada")

        await read_until(deltas, lambda states: job.id in states)


async def test_several_new_jobs_at_once_are_all_followed(process: Process, link: SyncRedis) -> None:
    async with aclosing(process.follow()) as deltas:
        await anext(deltas)
        jobs = {runs.claim(link, "ada").id for _ in range(20)}

        await read_until(deltas, lambda states: set(states) == jobs)


async def test_jobs_of_others_are_never_in_it(process: Process, link: SyncRedis) -> None:
    stranger = runs.claim(link, "eve")

    async with aclosing(process.follow(named=(stranger.id,))) as deltas:
        first = await anext(deltas)
        mine = runs.claim(link, "ada")
        stranger.begin_stage("preprocess")
        later = await read_until(deltas, lambda states: mine.id in states)

    assert first.jobs == [] and first.gone == [stranger.id]
    assert [snapshot.fields["user"] for snapshot in later.jobs] == ["ada"]


async def test_what_ended_after_the_cursor_is_answered_again_elsewhere(
    process: Process, link: SyncRedis, state_url: str
) -> None:
    """The resumed feed has pub/sub and connections of its own: it knows only the cursor."""
    runs.claim(link, "ada").finish()
    early = runs.claim(link, "ada")
    async with aclosing(process.follow()) as deltas:
        first = await anext(deltas)
        cursor = (await read_until(deltas, lambda states: True)).cursor_ms
    early.finish()

    other = Process(state_url)
    async with aclosing(other.follow(since_ms=cursor)) as deltas:
        resumed = await anext(deltas)
    await other.state.close()

    assert cursor >= first.cursor_ms > 0
    assert [(snapshot.fields["id"], snapshot.state) for snapshot in resumed.jobs] == [
        (early.id, "done")
    ]


async def test_no_cursor_is_ahead_of_what_was_sent(process: Process, link: SyncRedis) -> None:
    """A client that resumes at the cursor of any delta has got, or gets, every end."""
    jobs = [runs.claim(link, "ada") for _ in range(30)]
    ends: dict[str, int] = {}
    cursors = []

    async with aclosing(process.follow()) as deltas, asyncio.timeout(PATIENCE_S):
        async for delta in deltas:
            cursors.append(delta.cursor_ms)
            for snapshot in delta.jobs:
                if snapshot.state == "done":
                    ends[snapshot.fields["id"]] = len(cursors) - 1
            if len(ends) == len(jobs):
                break
            waiting = [job for job in jobs if job.id not in ends]
            for job in waiting[:2]:
                with suppress(AssertionError):  # ended already, not sent yet
                    job.finish()

    state = link
    for job_id, sent_at in ends.items():
        snapshot = runs.snapshot(state, job_id)
        assert snapshot and all(float(snapshot.fields["ended"]) >= at for at in cursors[:sent_at])


async def test_a_killed_connection_loses_nothing(
    process: Process, link: SyncRedis, state: "redis.Redis"
) -> None:
    jobs = [runs.claim(link, "ada") for _ in range(5)]
    async with aclosing(process.follow()) as deltas:
        await anext(deltas)
        state.client_kill_filter(_type="pubsub")
        for job in jobs:
            job.finish()
        late = runs.claim(link, "ada")

        await read_until(
            deltas,
            lambda states: (
                late.id in states and all(states.get(job.id) == ["done"] for job in jobs)
            ),
        )


async def test_what_pub_sub_lost_is_found_all_the_same(
    process: Process, link: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LIST_S", 0)
    job = runs.claim(link, "ada")
    async with aclosing(process.follow()) as deltas:
        await anext(deltas)
        monkeypatch.setattr(process.pubsub, "_dispatch", lambda answer: None)
        job.finish()
        late = runs.claim(link, "ada")

        await read_until(
            deltas, lambda states: states.get(job.id) == ["done"] and late.id in states
        )


async def test_a_deleted_job_is_gone(
    process: Process, link: SyncRedis, state: "redis.Redis"
) -> None:
    job = runs.claim(link, "ada")
    async with aclosing(process.follow()) as deltas:
        await anext(deltas)
        state.delete(keys.job(job.id))
        state.publish(keys.run_events(job.ref.key), json.dumps({"state": "cancelled"}))

        async with asyncio.timeout(PATIENCE_S):
            while not (delta := await anext(deltas)).gone:
                pass

    assert delta.gone == [job.id]


async def test_a_closed_feed_leaves_no_subscription(process: Process, link: SyncRedis) -> None:
    runs.claim(link, "ada")

    async with aclosing(process.follow()) as deltas:
        await anext(deltas)
        assert len(process.pubsub.subscriptions) == 2, "the user's channel and the run's"

    assert process.pubsub.subscriptions == {}


async def test_an_answer_that_comes_after_its_feed_has_ended_leaves_nothing(
    process: Process, link: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_open, asked = asyncio.Event(), asyncio.Event()
    do = process.state.do

    async def held(call: Call[object]) -> object:
        asked.set()
        await is_open.wait()
        return await do(call)

    async with aclosing(process.follow()) as deltas, asyncio.timeout(PATIENCE_S):
        await anext(deltas)
        monkeypatch.setattr(process.state, "do", held)
        runs.claim(link, "ada")
        await asked.wait()
    is_open.set()
    await process.reader.read([])  # is read after what was requested before

    assert process.pubsub.subscriptions == {}


async def test_an_ended_job_is_unsubscribed_from(process: Process, link: SyncRedis) -> None:
    job = runs.claim(link, "ada")
    async with aclosing(process.follow()) as deltas:
        await anext(deltas)
        job.finish()
        await read_until(deltas, lambda states: states.get(job.id) == ["done"])

        assert set(process.pubsub.subscriptions) == {keys.user_jobs("ada")}


async def test_a_feed_cannot_begin_without_redis() -> None:
    lost = Process("redis://127.0.0.1:1/0")

    with pytest.raises(StorageDown):
        await anext(lost.follow())

    assert lost.pubsub.subscriptions == {}


async def test_requests_during_a_read_share_the_next(process: Process, link: SyncRedis) -> None:
    jobs = [runs.claim(link, "ada") for _ in range(20)]
    calls: list[int] = []
    do = process.state.do

    async def counted(call: Call[object]) -> object:
        calls.append(int(call.words[0]))
        return await do(call)

    process.state.do = counted  # type: ignore[method-assign]  # counts, then does

    answers = await asyncio.gather(*(process.reader.read([job.id]) for job in jobs))

    assert all(job.id in answer.jobs for job, answer in zip(jobs, answers, strict=True))
    assert calls == [1, 19]


async def test_whoever_asks_several_times_before_a_read_is_answered_once(
    process: Process, link: SyncRedis
) -> None:
    reader = SnapshotReader(lambda ids: process.state.do(snapshots.read(ids)), throttle_s=0.01)
    ids = {runs.claim(link, "ada").id for _ in range(3)}
    answers: list[tuple[set[str], JobSnapshots | Exception]] = []
    is_answered = asyncio.Event()

    def receive(job_ids: set[str], outcome: JobSnapshots | Exception) -> None:
        answers.append((job_ids, outcome))
        is_answered.set()

    for job_id in ids:
        reader.request([job_id], receive)
    await asyncio.wait_for(is_answered.wait(), PATIENCE_S)

    [(asked, outcome)] = answers
    assert isinstance(outcome, JobSnapshots)
    assert asked == ids == outcome.jobs.keys()
