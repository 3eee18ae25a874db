"""What waits together travels together, within limits; a dead queue is said soon."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from stack import Stack

from storage import keys
from storage.records import Ref
from tasks import publisher as publisher_module
from tasks.errors import Unavailable
from tasks.message import MAX_RUNS, Lane
from tasks.publisher import MAX_PREPROCESS_MS, Publisher, Ticket, groups

pytest_plugins = ["inprocess"]


def ticket(
    name: str, *, model: str = "toy", lane: Lane = "interactive", cost_ms: float = 1
) -> Ticket:
    return Ticket(model, lane, Ref(name, 1), cost_ms)


def named(found: Iterator[list[Ticket]]) -> list[list[str]]:
    return [[one.ref.key for one in group] for group in found]


def test_what_is_cheap_travels_together() -> None:
    assert named(groups([ticket("a"), ticket("b"), ticket("c")])) == [["a", "b", "c"]]


def test_nothing_makes_no_group() -> None:
    assert named(groups([])) == []


def test_a_group_has_at_most_16_runs() -> None:
    found = groups(ticket(str(number), cost_ms=0) for number in range(35))

    assert [len(group) for group in found] == [16, 16, 3]


def test_a_group_costs_at_most_20_ms() -> None:
    found = groups([ticket(str(number), cost_ms=8) for number in range(5)])

    assert named(found) == [["0", "1"], ["2", "3"], ["4"]]


def test_exactly_20_ms_still_travel_together() -> None:
    assert named(groups([ticket("a", cost_ms=10), ticket("b", cost_ms=10)])) == [["a", "b"]]


def test_a_photo_that_is_dear_travels_alone() -> None:
    found = groups([ticket("cheap"), ticket("dear", cost_ms=300), ticket("later")])

    assert named(found) == [["cheap"], ["dear"], ["later"]]


def test_models_and_lanes_are_never_mixed() -> None:
    found = groups(
        [
            ticket("a", model="toy"),
            ticket("b", model="noop"),
            ticket("c", model="toy", lane="batch"),
            ticket("d", model="toy"),
        ]
    )

    assert sorted(named(found)) == [["a", "d"], ["b"], ["c"]]


tickets = st.lists(
    st.builds(
        ticket,
        st.uuids().map(str),
        model=st.sampled_from(["toy", "noop"]),
        lane=st.sampled_from(["interactive", "batch"]),
        cost_ms=st.floats(0, 30),
    ),
    max_size=60,
)


@given(tickets)
def test_every_ticket_travels_once_in_order_and_within_the_limits(asked: list[Ticket]) -> None:
    found = list(groups(asked))

    for group in found:
        assert len({(one.model, one.lane) for one in group}) == 1
        assert len(group) <= MAX_RUNS
        assert len(group) == 1 or sum(one.cost_ms for one in group) <= MAX_PREPROCESS_MS
    sent = [one for group in found for one in group]
    for kind in {(one.model, one.lane) for one in asked}:
        of_kind = [
            [one.ref.key for one in some if (one.model, one.lane) == kind] for some in (sent, asked)
        ]
        assert of_kind[0] == of_kind[1]
    assert len(sent) == len(asked)


@pytest.fixture
def publisher(in_process: None) -> Iterator[Publisher]:
    started = Publisher()
    yield started
    started.stop()


def queued(state: "redis.Redis", priority: str = "\x06\x163") -> list[dict[str, object]]:
    """The messages in one lane of the cpu queue, the oldest first."""
    found = state.lrange(f"{keys.BROKER_PREFIX}cpu{priority}", 0, -1)
    return [json.loads(text) for text in reversed(found)]


def carried(found: dict[str, object]) -> dict[str, object]:
    [argument], _, _ = json.loads(base64.b64decode(str(found["body"])))
    return dict(argument)


def test_a_published_run_lies_in_its_lane(publisher: Publisher, state: "redis.Redis") -> None:
    publisher.publish(ticket("a")).result(5)

    [found] = queued(state)
    assert found["headers"]["task"] == "preprocess"
    assert carried(found)["runs"] == [["a", 1]]
    assert queued(state, "\x06\x169") == []


def test_batch_work_lies_behind_peoples_work(publisher: Publisher, state: "redis.Redis") -> None:
    publisher.publish(ticket("a", lane="batch")).result(5)

    assert (len(queued(state)), len(queued(state, "\x06\x169"))) == (0, 1)


def test_what_was_claimed_during_a_publish_goes_into_one_message(
    publisher: Publisher, state: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, begun = threading.Event(), threading.Event()
    run_chain = publisher_module.run_chain

    def slow(message: object) -> object:
        begun.set()
        assert hold.wait(5)
        return run_chain(message)

    monkeypatch.setattr(publisher_module, "run_chain", slow)
    first = publisher.publish(ticket("first"))
    assert begun.wait(5)
    others = [publisher.publish(ticket(str(number))) for number in range(5)]
    hold.set()

    for sent in (first, *others):
        sent.result(5)

    assert [len(carried(found)["runs"]) for found in queued(state)] == [1, 5]


def test_stopping_publishes_what_waits(in_process: None, state: "redis.Redis") -> None:
    publisher = Publisher()
    sent = [publisher.publish(ticket(str(number), cost_ms=15)) for number in range(4)]

    publisher.stop()

    assert all(future.done() for future in sent)
    assert len(queued(state)) == 4


@pytest.fixture
def own_redis(queue_at: Callable[[str], None], tmp_path: Path) -> Iterator[Stack]:
    """A Redis to kill, which this process takes for its queue."""
    with Stack(tmp_path / "own") as own:
        own.start_redis("state")
        queue_at(own.env["PIXELMILL_STATE_URL"])
        yield own


@pytest.mark.parametrize("before", [0, 1], ids=["never connected", "connected before"])
def test_a_dead_queue_is_unavailable_soon(own_redis: Stack, before: int) -> None:
    publisher = Publisher()
    for _ in range(before):
        publisher.publish(ticket("before")).result(5)
    own_redis.kill("state")
    began = time.monotonic()

    with pytest.raises(Unavailable, match="the queue does not answer"):
        publisher.publish(ticket("a")).result(30)

    assert time.monotonic() - began < 2.5
    publisher.stop()


def test_a_queue_that_was_restarted_takes_messages_again(own_redis: Stack) -> None:
    publisher = Publisher()
    publisher.publish(ticket("before")).result(5)
    own_redis.kill("state")
    with pytest.raises(Unavailable):
        publisher.publish(ticket("lost")).result(30)

    own_redis.start_redis("state")

    publisher.publish(ticket("after")).result(5)
    publisher.stop()
