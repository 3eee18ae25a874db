"""A claimed run goes into the backlog when it is ready; a dead queue is reported soon."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis
from stack import Stack

from storage import backlog_keys, keys
from storage.jobs.spec import RunRef
from storage.redis.calls import NUMBER, AsyncRedis, command
from tasks.errors import Unavailable
from web.jobs import publisher as module
from web.jobs.publisher import PendingRun, Publisher
from web.limits import STATE_LIMIT_S

pytest_plugins = ["inprocess"]

NAMES = ("a", "first", *map(str, range(5)))


def pending(name: str) -> PendingRun:
    return PendingRun(RunRef(name, 1), 1)


@pytest.fixture
async def link(state_url: str) -> AsyncIterator[AsyncRedis]:
    made = AsyncRedis(state_url, limit_s=STATE_LIMIT_S)
    fields = {"attempt": 1, "unqueued": 1, "model": "toy", "priority": "interactive", "tag": 1}
    words = [word for field in fields.items() for word in field]
    for name in NAMES:  # as claim.lua leaves them
        await made.do(command(int, "HSET", keys.run(name), *words, kinds=NUMBER))
    yield made
    await made.close()


def ready(state: "redis.Redis") -> set[str]:
    """The runs in the backlog."""
    names = state.zrange(backlog_keys.backlog("toy", "interactive"), 0, -1)
    return {name.removeprefix(keys.RUN_PREFIX) for name in names}


async def test_a_published_run_is_in_the_backlog_and_a_worker_is_called(
    link: AsyncRedis, state: "redis.Redis"
) -> None:
    await Publisher(link).publish(pending("a"))

    assert ready(state) == {"a"}
    assert state.llen(keys.queue("cpu", 3)) == 1
    assert state.llen(keys.queue("cpu", 9)) == 0


async def test_while_a_ticket_waits_no_other_is_queued(
    link: AsyncRedis, state: "redis.Redis"
) -> None:
    publisher = Publisher(link)

    await asyncio.gather(*(publisher.publish(pending(name)) for name in NAMES))

    assert ready(state) == set(NAMES)
    assert state.llen(keys.queue("cpu", 3)) == 1


async def test_who_publishes_the_same_run_at_a_time_is_answered(
    link: AsyncRedis, state: "redis.Redis"
) -> None:
    publisher = Publisher(link)

    asked = [publisher.publish(pending(name)) for name in ("a", "first", "a")]
    await asyncio.wait_for(asyncio.gather(*asked), 10)

    assert ready(state) == {"a", "first"}


async def test_stopping_waits_for_what_is_on_its_way(
    link: AsyncRedis, state: "redis.Redis"
) -> None:
    publisher = Publisher(link)
    asked = [asyncio.ensure_future(publisher.publish(pending(str(n)))) for n in range(4)]
    await asyncio.sleep(0)

    await publisher.stop()

    assert len(ready(state)) == 4
    await asyncio.gather(*asked)


async def test_a_run_goes_on_without_whoever_asked(link: AsyncRedis, state: "redis.Redis") -> None:
    publisher = Publisher(link)
    asked = asyncio.ensure_future(publisher.publish(pending("a")))
    await asyncio.sleep(0)
    asked.cancel()

    await publisher.stop()

    assert ready(state) == {"a"}


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
    publisher = Publisher(link)
    with monkeypatch.context() as broken:

        def raises(*_: object) -> None:
            raise error

        broken.setattr(module, "enqueue_claimed", raises)
        asked = [publisher.publish(pending(name)) for name in ("a", "first")]
        answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)

    assert all(isinstance(answer, Unavailable) for answer in answers)
    await asyncio.wait_for(publisher.publish(pending("a")), 5)
    assert ready(state) == {"a"}
