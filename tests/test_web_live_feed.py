"""News of all of a user's jobs on real Redis: a snapshot first, nothing missed, nobody else's."""

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
from web.live.feed import NEVER, Feed, News
from web.live.pubsub import Hub
from web.live.snapshots import Snapshots

pytest_plugins = ["inprocess"]

PATIENCE_S = 8


class Desk:
    """Feeds of one process: a hub, and a link to look with."""

    def __init__(self, state_url: str) -> None:
        self.hub = Hub(state_url)
        self.state = AsyncRedis(state_url, limit_s=STATE_LIMIT_S)
        self.views = Snapshots(lambda ids: self.state.do(snapshots.read(ids)))

    def follow(
        self, user: str = "ada", named: tuple[str, ...] = (), since_ms: float = NEVER
    ) -> Feed:
        return Feed(self.hub, self.views, self.state, user, named, since_ms)


@pytest.fixture
async def desk(state_url: str) -> AsyncIterator[Desk]:
    made = Desk(state_url)
    made.hub.start()
    with made.hub.listening("warm-up") as listener:
        await listener.heard()
    yield made
    await made.hub.stop()
    await made.hub.close()
    await made.state.close()


async def told(news: AsyncIterator[News], until: Callable[[dict[str, list[str]]], bool]) -> News:
    """Reads on until what has been told, states by job id, is enough; the last news."""
    said: dict[str, list[str]] = {}
    async with asyncio.timeout(PATIENCE_S):
        async for one in news:
            for view in one.views:
                said.setdefault(view.fields["id"], []).append(view.state)
            if until(said):
                return one
    raise AssertionError(f"the feed ended: {said}")


async def test_what_is_under_way_comes_first(desk: Desk, link: SyncRedis) -> None:
    jobs = [runs.claim(link, "ada") for _ in range(3)]
    jobs[0].touch("start", "preprocess")

    async with aclosing(desk.follow()) as news:
        first = await anext(news)

    states = {view.fields["id"]: view.state for view in first.views}
    assert states == {jobs[0].id: "preprocessing", jobs[1].id: "queued", jobs[2].id: "queued"}


async def test_what_had_ended_is_not_told(desk: Desk, link: SyncRedis) -> None:
    runs.claim(link, "ada").finish()

    async with aclosing(desk.follow()) as news:
        assert (await anext(news)).views == []


async def test_a_named_job_is_told_even_if_it_has_ended(desk: Desk, link: SyncRedis) -> None:
    job = runs.claim(link, "ada")
    job.finish()

    async with aclosing(desk.follow(named=(job.id,))) as news:
        [view] = (await anext(news)).views

    assert (view.fields["id"], view.state) == (job.id, "done")


async def test_every_change_is_told_to_the_end(desk: Desk, link: SyncRedis) -> None:
    job = runs.claim(link, "ada")
    seen: list[str] = []

    async with aclosing(desk.follow()) as news, asyncio.timeout(PATIENCE_S):
        async for one in news:
            for view in one.views:
                seen.append(view.state)
                if view.state == "queued":
                    job.touch("start", "preprocess")
                elif view.state == "preprocessing":
                    job.finish()
            if seen[-1:] == ["done"]:
                break

    assert seen == ["queued", "preprocessing", "done"]


async def test_a_new_job_is_followed_at_once(
    desk: Desk, link: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pubsub, "LOOK_AGAIN_S", 3600)
    async with aclosing(desk.follow()) as news:
        await anext(news)
        job = runs.claim(link, "ada")

        await told(news, lambda said: job.id in said)


async def test_several_new_jobs_at_once_are_all_followed(desk: Desk, link: SyncRedis) -> None:
    async with aclosing(desk.follow()) as news:
        await anext(news)
        jobs = {runs.claim(link, "ada").id for _ in range(20)}

        await told(news, lambda said: set(said) == jobs)


async def test_jobs_of_others_are_never_in_it(desk: Desk, link: SyncRedis) -> None:
    stranger = runs.claim(link, "eve")

    async with aclosing(desk.follow(named=(stranger.id,))) as news:
        first = await anext(news)
        mine = runs.claim(link, "ada")
        stranger.touch("start", "preprocess")
        later = await told(news, lambda said: mine.id in said)

    assert first.views == [] and first.gone == [stranger.id]
    assert [view.fields["user"] for view in later.views] == ["ada"]


async def test_what_ended_after_the_cursor_is_told_again_elsewhere(
    desk: Desk, link: SyncRedis, state_url: str
) -> None:
    """The resumed feed has a process, hub and link of its own: the cursor is all that it knows."""
    runs.claim(link, "ada").finish()
    early = runs.claim(link, "ada")
    async with aclosing(desk.follow()) as news:
        first = await anext(news)
        cursor = (await told(news, lambda said: True)).cursor_ms
    early.finish()

    other = Desk(state_url)
    async with aclosing(other.follow(since_ms=cursor)) as news:
        resumed = await anext(news)
    await other.state.close()

    assert cursor >= first.cursor_ms > 0
    assert [(view.fields["id"], view.state) for view in resumed.views] == [(early.id, "done")]


async def test_no_cursor_is_ahead_of_what_was_told(desk: Desk, link: SyncRedis) -> None:
    """Whoever leaves after any news and resumes at its cursor has heard, or hears, every end."""
    jobs = [runs.claim(link, "ada") for _ in range(30)]
    ends: dict[str, int] = {}
    cursors = []

    async with aclosing(desk.follow()) as news, asyncio.timeout(PATIENCE_S):
        async for one in news:
            cursors.append(one.cursor_ms)
            for view in one.views:
                if view.state == "done":
                    ends[view.fields["id"]] = len(cursors) - 1
            if len(ends) == len(jobs):
                break
            waiting = [job for job in jobs if job.id not in ends]
            for job in waiting[:2]:
                with suppress(AssertionError):  # ended already, not yet told
                    job.finish()

    state = link
    for job_id, told_at in ends.items():
        view = runs.snapshot(state, job_id)
        assert view and all(float(view.fields["ended"]) >= at for at in cursors[:told_at])


async def test_a_killed_connection_loses_nothing(
    desk: Desk, link: SyncRedis, state: "redis.Redis"
) -> None:
    jobs = [runs.claim(link, "ada") for _ in range(5)]
    async with aclosing(desk.follow()) as news:
        await anext(news)
        state.client_kill_filter(_type="pubsub")
        for job in jobs:
            job.finish()
        late = runs.claim(link, "ada")

        await told(
            news,
            lambda said: late.id in said and all(said.get(job.id) == ["done"] for job in jobs),
        )


async def test_what_pub_sub_lost_is_found_all_the_same(
    desk: Desk, link: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LIST_S", 0)
    job = runs.claim(link, "ada")
    async with aclosing(desk.follow()) as news:
        await anext(news)
        monkeypatch.setattr(desk.hub, "_take", lambda word: None)
        job.finish()
        late = runs.claim(link, "ada")

        await told(news, lambda said: said.get(job.id) == ["done"] and late.id in said)


async def test_a_deleted_job_is_gone(desk: Desk, link: SyncRedis, state: "redis.Redis") -> None:
    job = runs.claim(link, "ada")
    async with aclosing(desk.follow()) as news:
        await anext(news)
        state.delete(keys.job(job.id))
        state.publish(keys.run_events(job.ref.key), json.dumps({"state": "cancelled"}))

        async with asyncio.timeout(PATIENCE_S):
            while not (one := await anext(news)).gone:
                pass

    assert one.gone == [job.id]


async def test_whoever_leaves_leaves_nothing(desk: Desk, link: SyncRedis) -> None:
    runs.claim(link, "ada")

    async with aclosing(desk.follow()) as news:
        await anext(news)
        assert len(desk.hub.listeners) == 2, "the user's channel and the run's"

    assert desk.hub.listeners == {}


async def test_an_answer_that_comes_after_its_feed_has_ended_leaves_nothing(
    desk: Desk, link: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_open, asked = asyncio.Event(), asyncio.Event()
    do = desk.state.do

    async def held(call: Call[object]) -> object:
        asked.set()
        await is_open.wait()
        return await do(call)

    async with aclosing(desk.follow()) as news, asyncio.timeout(PATIENCE_S):
        await anext(news)
        monkeypatch.setattr(desk.state, "do", held)
        runs.claim(link, "ada")
        await asked.wait()
    is_open.set()
    await desk.views.look([])  # goes after what was asked before

    assert desk.hub.listeners == {}


async def test_an_ended_job_is_listened_to_no_more(desk: Desk, link: SyncRedis) -> None:
    job = runs.claim(link, "ada")
    async with aclosing(desk.follow()) as news:
        await anext(news)
        job.finish()
        await told(news, lambda said: said.get(job.id) == ["done"])

        assert set(desk.hub.listeners) == {keys.user_jobs("ada")}


async def test_a_feed_cannot_begin_without_redis() -> None:
    lost = Desk("redis://127.0.0.1:1/0")

    with pytest.raises(StorageDown):
        await anext(lost.follow())

    assert lost.hub.listeners == {}


async def test_questions_during_a_read_share_the_next(desk: Desk, link: SyncRedis) -> None:
    jobs = [runs.claim(link, "ada") for _ in range(20)]
    calls: list[int] = []
    do = desk.state.do

    async def counted(call: Call[object]) -> object:
        calls.append(int(call.words[0]))
        return await do(call)

    desk.state.do = counted  # type: ignore[method-assign]  # counts, then does

    looks = await asyncio.gather(*(desk.views.look([job.id]) for job in jobs))

    assert all(job.id in look.jobs for job, look in zip(jobs, looks, strict=True))
    assert calls == [1, 19]


async def test_whoever_asks_several_times_before_a_read_is_told_once(
    desk: Desk, link: SyncRedis
) -> None:
    views = Snapshots(lambda ids: desk.state.do(snapshots.read(ids)), gather_s=0.01)
    ids = {runs.claim(link, "ada").id for _ in range(3)}
    answers: list[tuple[set[str], JobSnapshots | Exception]] = []
    is_told = asyncio.Event()

    def tell(job_ids: set[str], found: JobSnapshots | Exception) -> None:
        answers.append((job_ids, found))
        is_told.set()

    for job_id in ids:
        views.ask([job_id], tell)
    await asyncio.wait_for(is_told.wait(), PATIENCE_S)

    [(asked, found)] = answers
    assert isinstance(found, JobSnapshots)
    assert asked == ids == found.jobs.keys()
