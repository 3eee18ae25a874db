"""A gpu worker takes what its device needs next, and leaves the rest to other workers."""

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from celery.worker import state as celery_state
from kombu import Consumer, Queue
from stack import API_KEY, REPOSITORY, Stack

from storage import keys
from tasks.app import app
from tasks.celery_transport import Channel
from workers.consuming import SILENT_S, Consuming
from workers.gpu.batcher import Batcher
from workers.gpu.cost import Cost
from workers.gpu.room import AHEAD_MS, VOLUMES, Room, wanted
from workers.gpu.shares import Flow

pytest_plugins = ["inprocess"]

PATIENCE_S = 120
JOBS, LEFT = 60, 20
"""A worker that takes 48 messages would leave less."""
QUEUES = ("gpu.one", "gpu.two")


def room_for(most: float, **waiting: int) -> Room:
    return Room(lambda: waiting, lambda model: most)


def test_what_has_been_taken_and_what_waits_for_the_device_fill_a_models_room() -> None:
    room = room_for(8, matting=2, **{"matting:quality": 2, "classify": 50})
    room.take("first", "gpu.matting", 16)  # 12 of them are on the device, or done
    for _ in range(16):
        room.submit("first")
    before = room.has_room("gpu.matting@v")

    room.take("second", "gpu.matting@v", 4)

    assert before
    assert not room.has_room("gpu.matting@v") and not room.has_room("gpu.matting")


def test_a_full_model_leaves_the_others_their_room() -> None:
    room = room_for(8)

    room.take("message", "gpu.matting", 100)

    assert room.has_room("gpu.classify")


def test_a_run_that_is_with_the_batcher_is_not_counted_twice() -> None:
    waiting = {"matting": 0}
    room = Room(lambda: waiting, lambda model: 2)
    room.take("message", "gpu.matting", 2)

    room.submit("message")
    waiting["matting"] = 1
    between = room.has_room("gpu.matting")
    waiting["matting"] = 0  # it is on the device

    assert (between, room.has_room("gpu.matting")) == (False, True)


@pytest.mark.parametrize("end", ["leave", "forget"])
def test_a_message_that_is_done_or_lost_gives_its_room_back(end: str) -> None:
    room = room_for(2)
    room.take("message", "gpu.matting", 2)

    room.leave("message") if end == "leave" else room.forget()
    room.submit("message")  # a thread that has not heard of it

    assert room.has_room("gpu.matting")


def loaded(cost: Cost, *, most: int = 16, pays: bool = True, kind: str = "image") -> Any:
    model = SimpleNamespace(max_batch=most, input=kind)
    return SimpleNamespace(model=model, cost=cost, pays=pays, usual_share=1)


def test_a_slow_device_wants_its_next_batch() -> None:
    slow = loaded(Cost([(1, 1000), (16, 4000)]))

    assert wanted("matting", {"matting": slow}) == 16


def test_a_fast_device_wants_a_quarter_of_a_second_of_work() -> None:
    fast = loaded(Cost([(1, 1), (16, 16)]))

    assert wanted("matting", {"matting": fast, "other": loaded(Cost([(1, 9), (2, 18)]))}) == (
        pytest.approx(AHEAD_MS)
    )


def test_a_model_that_costs_nothing_has_room_for_everything() -> None:
    assert wanted("noop", {"noop": loaded(Cost([(1, 0), (2, 0)]))}) == inf


def test_a_device_that_gains_nothing_by_batches_wants_no_batch() -> None:
    alone = loaded(Cost([(1, 500), (2, 1000)]), pays=False)

    assert wanted("matting", {"matting": alone}) == 1


def test_few_volumes_are_held_at_a_time_however_fast_their_slices_are() -> None:
    lungs = loaded(Cost([(1, 1), (2, 2)]), kind="volume")

    assert wanted("lungct", {"lungct": lungs}) == VOLUMES


def test_the_batcher_counts_photos_that_wait_in_queues_and_in_the_next_batch() -> None:
    released = SimpleNamespace(now=False)

    def run(bin: Any, items: Any) -> list[Any]:
        while not released.now:
            time.sleep(0.001)
        return list(items)

    batcher = Batcher(run, lambda bin: 2)
    futures = [batcher.submit("photos", 0)]
    wait_until(lambda: batcher.busy_s() > 0)
    futures += [batcher.submit("photos", n) for n in range(5)]
    futures += [batcher.submit("slices", n, flow=Flow("lungs")) for n in range(3)]

    counted = dict(batcher.waiting())
    released.now = True
    batcher.stop()

    assert counted == {"photos": 5}
    assert all(future.done() for future in futures)


def wait_until(is_so: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


class Closed:
    """A bound by which one queue is closed."""

    def __init__(self) -> None:
        self.queues = {QUEUES[0]}
        self.held: dict[str, tuple[str, int]] = {}

    def has_room(self, queue: str) -> bool:
        return queue not in self.queues

    def take(self, id: str, queue: str, runs: int) -> None:
        self.held[id] = queue, runs

    def leave(self, id: str) -> None:
        self.held.pop(id, None)

    def forget(self) -> None:
        self.held.clear()


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Closed:
    bound = Closed()
    monkeypatch.setattr(Channel, "bound", bound)
    return bound


@pytest.fixture
def came(in_process: None, closed: Closed) -> Iterator[Any]:
    """Asks for messages of both queues; answers those that have come so far."""
    with app.connection_for_read() as connection:
        with connection.Producer() as producer:
            for name in QUEUES:
                body = [[{"runs": [1, 2]}], {}, {}]
                producer.publish(body, routing_key=name, headers={"id": f"of {name}"},
                                 declare=[Queue(name, routing_key=name)])  # fmt: skip
        messages: list[Any] = []
        consumer = Consumer(
            connection,
            [Queue(name) for name in QUEUES],
            on_message=messages.append,
            prefetch_count=48,
        )

        def ask(seconds: float) -> list[Any]:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                with suppress(TimeoutError):
                    connection.drain_events(timeout=0.1)
            return messages

        with consumer:
            yield ask


def test_nothing_is_taken_from_a_queue_whose_work_is_not_wanted_until_it_is(
    came: Any, closed: Closed
) -> None:
    first = [message.headers["id"] for message in came(1)]
    closed.queues.clear()
    then = [message.headers["id"] for message in came(3)]

    assert first == ["of gpu.two"]
    assert then == ["of gpu.two", "of gpu.one"]


def test_the_bound_hears_of_each_message_and_of_its_end(came: Any, closed: Closed) -> None:
    [message] = came(1)
    held = dict(closed.held)

    message.ack()

    assert held == {"of gpu.two": ("gpu.two", 2)}
    assert closed.held == {}


def test_a_message_that_is_put_back_is_held_no_more(came: Any, closed: Closed) -> None:
    [message] = came(1)
    closed.queues.add("gpu.two")

    message.reject(requeue=True)

    assert closed.held == {}


def test_messages_that_a_worker_does_not_want_are_no_sign_that_it_is_stuck(
    state_url: str, state: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("workers.consuming.monotonic", lambda: now[0])
    monkeypatch.setattr(celery_state, "reserved_requests", [])
    for name in QUEUES:
        state.lpush(keys.queue(name, 9), "message")
    state.delete(keys.queue(QUEUES[1], 9))
    watched = Consuming(state_url, QUEUES, 48, 10 * SILENT_S, Closed().has_room)

    said = []
    for _ in range(30):
        now[0] += 5.1
        said.append(watched.check())

    assert not any(said)


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Stack]:
    """An installation whose one device never ends the batch that it has begun."""
    env = {
        "SIMULATED": f"a=200 b=1 hangs={tmp_path / 'hung'}",
        "PIXELMILL_MODELS": "simulated",
        "PIXELMILL_MODEL_PATHS": str(REPOSITORY / "tests" / "models"),
        "PIXELMILL_DEVICE_HANG_S": "3600",
        "PIXELMILL_CPU_PROCESSES": "1",
        "PIXELMILL_STOP_S": "1",
        "PIXELMILL_MAX_WAIT_INTERACTIVE_S": "100000",
    }
    with Stack(tmp_path, env).start_all() as stack:
        ask(stack, 0, fault="hang")
        wait_until((tmp_path / "hung").exists)
        yield stack
        stack.processes["gpu-worker"].kill()  # it would wait for its device


def ask(stack: Stack, salt: int, **params: Any) -> str:
    """The id of a job of one image, which is not waited for."""
    answer = httpx.post(
        f"{stack.url}/api/v1/predict/simulated",
        params={"salt": salt, "wait": 0, **params},
        content=(REPOSITORY / "examples" / "chelsea.jpg").read_bytes(),
        headers={"Authorization": f"Bearer {API_KEY}"},
        timeout=90,
    )
    return str(answer.json()["id"])


def test_another_device_does_what_one_has_no_room_for(stuck: Stack) -> None:
    ids = [ask(stuck, salt) for salt in range(1, JOBS)]

    stuck.start("gpu-worker-2", [sys.executable, "-m", "workers", "gpu"])

    def is_done(id: str) -> bool:
        url, headers = f"{stuck.url}/api/v1/jobs/{id}", {"Authorization": f"Bearer {API_KEY}"}
        return bool(httpx.get(url, headers=headers).json()["state"] == "done")

    wait_until(lambda: sum(map(is_done, ids)) >= LEFT)
