"""Runs that wait together share a message, within limits; a dead queue is reported soon."""

import asyncio
import base64
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from stack import Stack

from storage import keys
from storage.jobs.spec import RunRef
from storage.redis.calls import NUMBER, AsyncRedis, command
from tasks.errors import Unavailable
from tasks.message import MAX_RUNS, Priority
from web.jobs import publisher as module
from web.jobs.publisher import MAX_PREPROCESS_MS, PendingRun, Publisher, groups
from web.limits import STATE_LIMIT_S

pytest_plugins = ["inprocess"]


def pending(
    name: str, *, model: str = "toy", priority: Priority = "interactive", cost_ms: float = 1
) -> PendingRun:
    return PendingRun(model, priority, RunRef(name, 1), cost_ms)


def named(grouped: Iterator[list[PendingRun]]) -> list[list[str]]:
    return [[run.ref.key for run in group] for group in grouped]


def test_what_is_cheap_travels_together() -> None:
    assert named(groups([pending("a"), pending("b"), pending("c")])) == [["a", "b", "c"]]


def test_nothing_makes_no_group() -> None:
    assert named(groups([])) == []


def test_a_group_has_at_most_16_runs() -> None:
    grouped = groups(pending(str(number), cost_ms=0) for number in range(35))

    assert [len(group) for group in grouped] == [16, 16, 3]


def test_a_group_costs_at_most_20_ms() -> None:
    grouped = groups([pending(str(number), cost_ms=8) for number in range(5)])

    assert named(grouped) == [["0", "1"], ["2", "3"], ["4"]]


def test_exactly_20_ms_still_travel_together() -> None:
    assert named(groups([pending("a", cost_ms=10), pending("b", cost_ms=10)])) == [["a", "b"]]


def test_a_photo_that_is_dear_travels_alone() -> None:
    grouped = groups([pending("cheap"), pending("dear", cost_ms=300), pending("later")])

    assert named(grouped) == [["cheap"], ["dear"], ["later"]]


def test_models_and_priorities_are_never_mixed() -> None:
    grouped = groups(
        [
            pending("a", model="toy"),
            pending("b", model="noop"),
            pending("c", model="toy", priority="batch"),
            pending("d", model="toy"),
        ]
    )

    assert sorted(named(grouped)) == [["a", "d"], ["b"], ["c"]]


pending_runs = st.lists(
    st.builds(
        pending,
        st.uuids().map(str),
        model=st.sampled_from(["toy", "noop"]),
        priority=st.sampled_from(["interactive", "batch"]),
        cost_ms=st.floats(0, 30),
    ),
    max_size=60,
)


@given(pending_runs)
def test_every_pending_run_is_sent_once_in_order_and_within_the_limits(
    asked: list[PendingRun],
) -> None:
    grouped = list(groups(asked))

    for group in grouped:
        assert len({(run.model, run.priority) for run in group}) == 1
        assert len(group) <= MAX_RUNS
        assert len(group) == 1 or sum(run.cost_ms for run in group) <= MAX_PREPROCESS_MS
    sent = [run for group in grouped for run in group]
    for kind in {(run.model, run.priority) for run in asked}:
        of_kind = [
            [run.ref.key for run in some if (run.model, run.priority) == kind]
            for some in (sent, asked)
        ]
        assert of_kind[0] == of_kind[1]
    assert len(sent) == len(asked)


@pytest.fixture
async def link(state_url: str) -> AsyncIterator[AsyncRedis]:
    made = AsyncRedis(state_url, limit_s=STATE_LIMIT_S)
    for name in ("a", "first", *map(str, range(5))):  # as claim.lua leaves them
        await made.do(
            command(int, "HSET", keys.run(name), "attempt", 1, "unqueued", 1, kinds=NUMBER)
        )
    yield made
    await made.close()


def queued(state: "redis.Redis", priority: int = 3) -> list[dict[str, object]]:
    """The messages of one priority in the cpu queue, the oldest first."""
    texts = state.lrange(keys.queue("cpu", priority), 0, -1)
    return [json.loads(text) for text in reversed(texts)]


def carried(message: dict[str, object]) -> dict[str, object]:
    [argument], _, _ = json.loads(base64.b64decode(str(message["body"])))
    return dict(argument)


async def test_a_published_run_lies_in_its_priority(link: AsyncRedis, state: "redis.Redis") -> None:
    await Publisher(link).publish(pending("a"))

    [message] = queued(state)
    assert message["headers"]["task"] == "preprocess"
    assert carried(message)["runs"] == [["a", 1]]
    assert queued(state, 9) == []


async def test_batch_work_lies_behind_peoples_work(link: AsyncRedis, state: "redis.Redis") -> None:
    await Publisher(link).publish(pending("a", priority="batch"))

    assert (len(queued(state)), len(queued(state, 9))) == (0, 1)


async def test_what_was_claimed_during_a_publish_goes_into_one_message(
    link: AsyncRedis, state: "redis.Redis"
) -> None:
    publisher = Publisher(link)
    state.execute_command("CLIENT", "PAUSE", "200")  # the first publish takes so long

    async def later(number: int) -> None:
        await asyncio.sleep(0.05)
        await publisher.publish(pending(str(number)))

    await asyncio.gather(publisher.publish(pending("first")), *(later(n) for n in range(5)))

    assert [len(carried(message)["runs"]) for message in queued(state)] == [1, 5]


async def test_who_publishes_the_same_run_at_a_time_is_answered_and_it_travels_once(
    link: AsyncRedis, state: "redis.Redis"
) -> None:
    publisher = Publisher(link)

    asked = [publisher.publish(pending(name)) for name in ("a", "first", "a")]
    await asyncio.wait_for(asyncio.gather(*asked), 10)

    [message] = queued(state)
    assert carried(message)["runs"] == [["a", 1], ["first", 1]]


async def test_behind_waiting_messages_the_next_is_held_for_more_runs(
    link: AsyncRedis, state: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HOLD_S", 10.0)
    monkeypatch.setattr(module, "LONGEST_HOLD_S", 0.2)
    state.lpush(keys.queue("cpu", 3), "somebody else's")
    publisher = Publisher(link)
    await publisher.publish(pending("first"))

    for number in range(5):  # one after another, each long after the last was sent
        asyncio.ensure_future(publisher.publish(pending(str(number))))
        await asyncio.sleep(0.01)
    await publisher.stop()

    [_, *ours] = state.lrange(keys.queue("cpu", 3), 0, -1)[::-1]
    assert [len(carried(json.loads(text))["runs"]) for text in ours] == [1, 5]


async def test_in_front_of_idle_workers_no_message_is_held(
    link: AsyncRedis, state: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HOLD_S", 10.0)
    monkeypatch.setattr(module, "LONGEST_HOLD_S", 10.0)
    publisher = Publisher(link)

    for number in range(5):
        await asyncio.wait_for(publisher.publish(pending(str(number))), 5)
        state.delete(keys.queue("cpu", 3))  # a worker takes it at once


async def test_stopping_waits_for_what_is_on_its_way(
    link: AsyncRedis, state: "redis.Redis"
) -> None:
    publisher = Publisher(link)
    asked = [
        asyncio.ensure_future(publisher.publish(pending(str(number), cost_ms=15)))
        for number in range(4)
    ]
    await asyncio.sleep(0)

    await publisher.stop()

    assert len(queued(state)) == 4
    await asyncio.gather(*asked)


async def test_a_run_goes_on_without_whoever_asked(link: AsyncRedis, state: "redis.Redis") -> None:
    publisher = Publisher(link)
    asked = asyncio.ensure_future(publisher.publish(pending("a")))
    await asyncio.sleep(0)
    asked.cancel()

    await publisher.stop()

    assert len(queued(state)) == 1


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[tuple[Stack, AsyncRedis]]:
    """A Redis to kill and the link to it."""
    with Stack(tmp_path / "own") as own:
        own.start_redis("state")
        made = AsyncRedis(own.env["PIXELMILL_STATE_URL"], limit_s=STATE_LIMIT_S)
        yield own, made
        await made.close()


@pytest.mark.measures_time
@pytest.mark.parametrize("before", [0, 1], ids=["never connected", "connected before"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "silent"])
async def test_a_queue_that_does_not_answer_is_unavailable_soon(
    own_redis: tuple[Stack, AsyncRedis], before: int, how: signal.Signals
) -> None:
    own, link = own_redis
    publisher = Publisher(link)
    for _ in range(before):
        await publisher.publish(pending("before"))
    own.processes["state"].send_signal(how)
    began = time.monotonic()

    with pytest.raises(Unavailable, match="the queue does not answer"):
        await publisher.publish(pending("a"))

    assert time.monotonic() - began < 2.5
    own.processes["state"].send_signal(signal.SIGCONT)


async def test_a_queue_that_was_restarted_takes_messages_again(
    own_redis: tuple[Stack, AsyncRedis],
) -> None:
    own, link = own_redis
    publisher = Publisher(link)
    await publisher.publish(pending("before"))
    own.kill("state")
    with pytest.raises(Unavailable):
        await publisher.publish(pending("lost"))

    own.start_redis("state")

    await publisher.publish(pending("after"))


@pytest.mark.parametrize(
    "error",
    [ValueError("odd"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(),
     asyncio.CancelledError(), MemoryError()],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
async def test_whatever_breaks_nobody_waits_for_ever_and_the_next_is_sent(
    link: AsyncRedis, state: "redis.Redis", monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    publisher, send = Publisher(link), module.enqueue_claimed
    with monkeypatch.context() as broken:

        def raises(*_: object) -> None:
            raise error

        broken.setattr(module, "enqueue_claimed", raises)
        asked = [publisher.publish(pending(name)) for name in ("a", "first")]
        answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)

    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert module.enqueue_claimed is send
    await asyncio.wait_for(publisher.publish(pending("a")), 5)
    assert len(queued(state)) == 1


async def test_cancelling_the_sender_answers_those_who_wait(link: AsyncRedis) -> None:
    publisher = Publisher(link)
    asked = asyncio.ensure_future(publisher.publish(pending("a")))
    await asyncio.sleep(0)
    assert publisher._sending

    publisher._sending.cancel()

    with pytest.raises(Unavailable):
        await asyncio.wait_for(asked, 5)
    await asyncio.wait_for(publisher.publish(pending("a")), 5)


async def test_a_sender_that_hangs_is_seen_and_one_that_rests_is_not(
    link: AsyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher(link)
    await asyncio.sleep(0.05)
    assert publisher._loop.age_s() == 0
    gate = asyncio.Event()

    async def hangs(group: list[PendingRun]) -> int:
        await gate.wait()
        return 1

    monkeypatch.setattr(publisher, "_send", hangs)
    asked = asyncio.ensure_future(publisher.publish(pending("a")))
    await asyncio.sleep(0.05)

    assert publisher._loop.age_s() > 0.04
    gate.set()
    await asked
    await publisher.stop()
    assert publisher._loop.age_s() == 0
