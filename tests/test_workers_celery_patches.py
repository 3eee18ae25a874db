"""Messages that are held stay held, and Flower hears of every task."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery.events.receiver import EventReceiver
from hypothesis import given
from hypothesis import strategies as st
from kombu.asynchronous.timer import Timer
from stack import Stack

from storage import keys
from storage.jobs.queueing import enqueue
from storage.jobs.spec import RunRef
from storage.redis import calls
from storage.redis.pool import Connections
from tasks import envelope
from tasks.app import VISIBILITY_S, app
from tasks.message import new_message
from workers import celery_patches
from workers.celery_patches import MAX_HELD_S, KeepMessages, _renew, forget_cancelled

pytest_plugins = ["inprocess"]

QUEUE = "gpu.held"
INDEX = f"{keys.BROKER_PREFIX}unacked_index"


@pytest.fixture
def connection(in_process: None) -> Iterator[Any]:
    with app.connection_for_read() as opened:
        yield opened


@pytest.fixture
def channel(connection: Any) -> Any:
    """A worker's channel that holds one message, unacknowledged for a long time."""
    queue = connection.SimpleQueue(QUEUE)
    queue.put({"runs": []})
    held = queue.get(timeout=5)
    channel = queue.consumer.channel
    assert list(channel.qos._delivered) == [held.delivery_tag]
    channel.qos.record()
    return channel


@pytest.fixture
def other(connection: Any) -> Any:
    """Another worker, which brings back what was held too long."""
    return connection.channel()


def make_old(state: "redis.Redis", seconds: float = 2 * VISIBILITY_S) -> None:
    for tag in state.zrange(INDEX, 0, -1):
        state.zadd(INDEX, {tag: time.time() - seconds})


def waiting(state: "redis.Redis") -> int:
    return int(state.llen(f"{keys.BROKER_PREFIX}{QUEUE}"))


def test_a_message_without_a_sign_of_life_comes_back(
    channel: Any, other: Any, state: "redis.Redis"
) -> None:
    make_old(state)

    other.qos.restore_visible()

    assert waiting(state) == 1


def test_a_message_that_is_renewed_does_not(channel: Any, other: Any, state: "redis.Redis") -> None:
    make_old(state)
    _renew(state, channel, {})

    other.qos.restore_visible()

    assert waiting(state) == 0


def test_a_message_that_is_held_for_too_long_is_renewed_no_more(
    channel: Any, other: Any, state: "redis.Redis"
) -> None:
    make_old(state)
    [tag] = channel.qos._delivered
    _renew(state, channel, {tag: time.time() - MAX_HELD_S - 1})

    other.qos.restore_visible()

    assert waiting(state) == 1


def test_a_message_that_is_soon_done_is_never_recorded(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    queue = connection.SimpleQueue(QUEUE)
    queue.put({"runs": []})
    monkeypatch.setattr(Connections, "tell", lambda self, commands: sent.extend(commands))

    queue.get(timeout=5).ack()
    queue.consumer.channel.qos.restore_visible()  # as kombu does once a second

    assert sent == []


def test_a_message_that_is_held_for_a_second_is_recorded(
    connection: Any, state: "redis.Redis"
) -> None:
    queue = connection.SimpleQueue(QUEUE)
    queue.put({"runs": []})

    held = queue.get(timeout=5)
    queue.consumer.channel.qos.restore_visible()
    recorded = state.zrange(INDEX, 0, -1)
    held.ack()

    assert recorded == [held.delivery_tag]
    assert not is_recorded(state)


def test_a_message_can_be_put_back_before_it_is_recorded(
    connection: Any, state: "redis.Redis"
) -> None:
    queue = connection.SimpleQueue(QUEUE)
    queue.put({"runs": []})

    queue.get(timeout=5).reject(requeue=True)

    assert waiting(state) == 1
    assert not is_recorded(state)


def is_recorded(state: "redis.Redis") -> bool:
    """Also soon after the present commands: a worker does not wait for their answers."""
    time.sleep(0.1)
    return bool(state.exists(INDEX))


def test_it_is_remembered_since_when_a_message_is_held(channel: Any, state: "redis.Redis") -> None:
    [tag] = channel.qos._delivered

    first = _renew(state, channel, {})
    second = _renew(state, channel, first)

    assert first == second == {tag: pytest.approx(time.time(), abs=2)}


def test_a_message_that_is_done_is_not_noted_down_again(channel: Any, state: "redis.Redis") -> None:
    held = _renew(state, channel, {})
    [tag] = channel.qos._delivered
    channel.basic_ack(tag)

    _renew(state, channel, held)

    assert not state.exists(INDEX)


def test_a_worker_renews_by_itself_until_it_stops(
    channel: Any, state: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery_patches, "VISIBILITY_S", 0.06)
    consumer = SimpleNamespace(app=app, task_consumer=SimpleNamespace(channel=channel))
    step = KeepMessages(consumer)
    make_old(state)

    step.start(consumer)
    renewed = is_soon_renewed(state)
    step.stop(consumer)
    time.sleep(0.1)
    make_old(state)

    assert renewed
    assert not is_soon_renewed(state, seconds=0.2)


def is_soon_renewed(state: "redis.Redis", seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        [(_, score)] = state.zrange(INDEX, 0, -1, withscores=True)
        if time.time() - score < VISIBILITY_S:
            return True
        time.sleep(0.01)
    return False


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=30))
def test_timers_that_were_called_off_are_forgotten_and_the_others_fire_in_order(
    asked: list[tuple[int, bool]],
) -> None:
    timer = Timer()
    fired: list[int] = []
    entries = [timer.call_at(after, fired.append, (after,)) for after, _ in asked]
    for entry, (_, off) in zip(entries, asked, strict=True):
        if off:
            entry.cancel()
    loop = timer.__iter__(nowfun=lambda: 21)

    forget_cancelled(timer)

    kept = sorted(after for after, off in asked if not off)
    assert len(timer) == len(kept)
    while len(fired) < len(kept):
        _, due = next(loop)
        if due:
            due()
    assert fired == kept


class Witness:
    """Hears all events of an installation, as Flower does."""

    def __init__(self, stack: Stack) -> None:
        self.heard: Counter[tuple[str, str]] = Counter()
        self.changed = threading.Condition()
        self._stopping = False
        self._ready = threading.Event()
        self._url = stack.env["PIXELMILL_STATE_URL"]
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def wait_for(self, count: int, seconds: float) -> None:
        """Return when so many events have come, or when time is up."""
        with self.changed:
            self.changed.wait_for(lambda: sum(self.heard.values()) >= count, seconds)

    def stop(self) -> None:
        self._stopping = True
        self._thread.join(10)

    def _listen(self) -> None:
        with app.connection_for_read(self._url) as opened:
            receiver = EventReceiver(opened, handlers={"*": self._hear}, app=app)
            with receiver.consumer_context(wakeup=False) as (connection, _, _):
                self._ready.set()
                while not self._stopping:
                    with suppress(TimeoutError):
                        connection.drain_events(timeout=0.2)

    def _hear(self, event: dict[str, Any]) -> None:
        if event["type"].startswith("task-"):
            with self.changed:
                self.heard[(event["uuid"], event["type"])] += 1
                self.changed.notify()


def test_no_event_of_a_hundred_tasks_in_threads_is_lost(stack: Stack) -> None:
    witness = Witness(stack)
    carried = new_message("noop", "interactive", [RunRef("nobody-asked", 1)])  # stale: left alone
    request = SimpleNamespace(task="inference", root_id="root", parent_id=None)
    letters = [envelope.same(request, carried) for _ in range(100)]
    ids = {json.loads(letter.text)["headers"]["id"] for letter in letters}
    calls.SyncRedis(stack.state).do(enqueue(letters))

    witness.wait_for(300, seconds=10)
    witness.stop()

    kinds = ("task-received", "task-started", "task-succeeded")
    heard = {of: count for of, count in witness.heard.items() if of[0] in ids}
    assert heard == {(id, kind): 1 for id in ids for kind in kinds}


def test_events_that_could_not_be_sent_are_sent_by_the_next_flush(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever form this Celery notes them; a worker flushes them when it has reconnected."""
    dispatcher = celery_patches.LosslessDispatcher(connection, app=app)
    sent: list[str] = []

    def publish(event: dict[str, Any], **_: Any) -> None:
        sent.append(event["type"])

    def fail(*_: Any, **__: Any) -> None:
        raise redis.ConnectionError("Redis restarts")

    monkeypatch.setattr(dispatcher.producer, "publish", fail)
    dispatcher.send("worker-online")
    dispatcher.send("worker-heartbeat")
    monkeypatch.setattr(dispatcher.producer, "publish", publish)
    dispatcher.flush()

    assert sent == ["worker-online", "worker-heartbeat"]
