"""Batches form while the device is busy; nobody's answer is lost, doubled or somebody else's."""

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.batcher import Batcher, Run

PATIENCE_S = 10


class Device:
    """Answers `(bin, item)`; refuses items in `bad`; waits at `gate` and tells what it ran."""

    def __init__(self, bad: frozenset[int] = frozenset()) -> None:
        self.bad = bad
        self.gate = threading.Event()
        self.busy = threading.Event()
        self.batches: list[tuple[Hashable, list[int]]] = []

    def run(self, bin: Hashable, items: Sequence[Any]) -> list[Any]:
        self.batches.append((bin, list(items)))
        self.busy.set()
        assert self.gate.wait(PATIENCE_S)
        if found := self.bad & set(items):
            raise ValueError(f"bad {min(found)}")
        return [(bin, item) for item in items]


@contextmanager
def batcher(run: Run, max_batch: Callable[[Hashable], int] = lambda bin: 4) -> Iterator[Batcher]:
    started = Batcher(run, max_batch)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def device() -> Device:
    return Device()


def keep_busy(device: Device, started: Batcher) -> "Future[Any]":
    """Let the device hang in a batch of its own until `gate` opens."""
    future = started.submit("first", -1)
    assert device.busy.wait(PATIENCE_S)
    return future


def test_one_item_is_answered_at_once(device: Device) -> None:
    device.gate.set()

    with batcher(device.run) as started:
        assert started.submit("a", 1).result(PATIENCE_S) == ("a", 1)


def test_what_waits_while_the_device_is_busy_runs_together(device: Device) -> None:
    with batcher(device.run) as started:
        keep_busy(device, started)
        futures = [started.submit("a", number) for number in range(3)]
        device.gate.set()

        answers = [future.result(PATIENCE_S) for future in futures]

    assert answers == [("a", 0), ("a", 1), ("a", 2)]
    assert device.batches == [("first", [-1]), ("a", [0, 1, 2])]


def test_a_batch_is_never_larger_than_its_bin_allows(device: Device) -> None:
    with batcher(device.run, {"first": 1, "a": 2, "b": 3}.__getitem__) as started:
        keep_busy(device, started)
        for number in range(5):
            started.submit("a", number)
        for number in range(4):
            started.submit("b", number)
        device.gate.set()

    sizes = [(bin, len(items)) for bin, items in device.batches[1:]]
    assert sizes == [("a", 2), ("a", 2), ("a", 1), ("b", 3), ("b", 1)]


def test_the_bin_whose_head_is_oldest_goes_first(device: Device) -> None:
    with batcher(device.run) as started:
        keep_busy(device, started)
        for bin, item in [("late", 0), ("early", 1), ("late", 2), ("early", 3)]:
            started.submit(bin, item)
        device.gate.set()

    assert device.batches[1:] == [("late", [0, 2]), ("early", [1, 3])]


def test_a_full_bin_does_not_starve_another(device: Device) -> None:
    with batcher(device.run) as started:
        keep_busy(device, started)
        for number in range(4):
            started.submit("crowd", number)
        started.submit("lonely", 100)
        for number in range(4, 8):
            started.submit("crowd", number)
        device.gate.set()

    assert [bin for bin, _ in device.batches[1:]] == ["crowd", "lonely", "crowd"]


def test_shapes_are_never_mixed(device: Device) -> None:
    with batcher(device.run) as started:
        keep_busy(device, started)
        for number in range(4):
            started.submit(("toy", (3, 64, 64 + number % 2)), number)
        device.gate.set()

    assert [items for _, items in device.batches[1:]] == [[0, 2], [1, 3]]


def test_one_bad_item_of_eight_fails_alone() -> None:
    device = Device(bad=frozenset({5}))
    with batcher(device.run, lambda bin: 8) as started:
        keep_busy(device, started)
        futures = [started.submit("a", number) for number in range(8)]
        device.gate.set()

        errors = [future.exception(PATIENCE_S) for future in futures]

    assert [number for number, error in enumerate(errors) if error] == [5]
    assert str(errors[5]) == "bad 5"
    assert [futures[number].result() for number in (0, 7)] == [("a", 0), ("a", 7)]


def test_a_bad_item_costs_few_batches() -> None:
    device = Device(bad=frozenset({5}))
    with batcher(device.run, lambda bin: 8) as started:
        keep_busy(device, started)
        for number in range(8):
            started.submit("a", number)
        device.gate.set()

    assert len(device.batches) - 1 <= 7, "8, then two of 4, two of 2 and two of 1"


def test_the_device_goes_on_after_a_failure() -> None:
    device = Device(bad=frozenset({1}))
    device.gate.set()
    with batcher(device.run) as started:
        with pytest.raises(ValueError, match="bad 1"):
            started.submit("a", 1).result(PATIENCE_S)

        assert started.submit("a", 2).result(PATIENCE_S) == ("a", 2)


@pytest.mark.parametrize("answers", [[], ["one", "two"]])
def test_a_model_that_answers_the_wrong_count_fails_and_shifts_no_answer(
    answers: list[str],
) -> None:
    with (
        batcher(lambda bin, items: answers) as started,
        pytest.raises(ValueError, match=f"{len(answers)} answers for a batch of 1"),
    ):
        started.submit("a", 1).result(PATIENCE_S)


def test_a_cancelled_item_never_reaches_the_device(device: Device) -> None:
    with batcher(device.run) as started:
        keep_busy(device, started)
        futures = [started.submit("a", number) for number in range(3)]
        assert futures[1].cancel()
        device.gate.set()

    assert device.batches[1:] == [("a", [0, 2])]
    assert futures[1].cancelled()


def test_a_bin_of_cancelled_items_makes_no_batch(device: Device) -> None:
    with batcher(device.run) as started:
        keep_busy(device, started)
        assert started.submit("gone", 1).cancel()
        future = started.submit("a", 2)
        device.gate.set()

        assert future.result(PATIENCE_S) == ("a", 2)

    assert [bin for bin, _ in device.batches] == ["first", "a"]


def test_an_item_on_the_device_can_be_cancelled_no_more(device: Device) -> None:
    with batcher(device.run) as started:
        future = keep_busy(device, started)

        assert not future.cancel()
        device.gate.set()

        assert future.result(PATIENCE_S) == ("first", -1)


def test_stopping_runs_what_waits(device: Device) -> None:
    started = Batcher(device.run, lambda bin: 2)
    keep_busy(device, started)
    futures = [started.submit("a", number) for number in range(5)]
    threading.Timer(0.02, device.gate.set).start()

    started.stop()

    assert all(future.done() for future in futures)
    assert [future.result() for future in futures] == [("a", number) for number in range(5)]


def test_after_stopping_nothing_is_taken(device: Device) -> None:
    started = Batcher(device.run, lambda bin: 2)
    started.stop()

    with pytest.raises(RuntimeError, match="stopped"):
        started.submit("a", 1)


def test_an_idle_batcher_uses_no_cpu(device: Device) -> None:
    device.gate.set()
    with batcher(device.run) as started:
        started.submit("a", 1).result(PATIENCE_S)
        began = time.process_time()

        time.sleep(0.2)

        assert time.process_time() - began < 0.05


items = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["good", "good", "good", "bad", "cancelled"]),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(items, st.integers(1, 8))
def test_every_item_is_answered_exactly_once_in_its_own_slot(
    asked: list[tuple[str, str]], largest: int
) -> None:
    device = Device(bad=frozenset(n for n, (_, fate) in enumerate(asked) if fate == "bad"))
    with batcher(device.run, lambda bin: largest) as started:
        keep_busy(device, started)
        futures = [started.submit(bin, number) for number, (bin, _) in enumerate(asked)]
        cancelled = {
            number
            for number, (_, fate) in enumerate(asked)
            if fate == "cancelled" and futures[number].cancel()
        }
        device.gate.set()

    succeeded = [
        item for _, batch in device.batches[1:] if not device.bad & set(batch) for item in batch
    ]
    assert sorted(succeeded) == [n for n, (_, fate) in enumerate(asked) if fate == "good"]
    assert all(len(batch) <= largest for _, batch in device.batches)
    for number, (bin, fate) in enumerate(asked):
        if number in cancelled:
            assert futures[number].cancelled()
        elif fate == "bad":
            assert str(futures[number].exception(0)) == f"bad {number}"
        else:
            assert futures[number].result(0) == (bin, number)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=15), min_size=1, max_size=4))
def test_many_threads_at_once_get_their_own_answers(asked: list[list[str]]) -> None:
    answers: dict[int, list[Any]] = {}

    def ask(started: Batcher, caller: int, bins: list[str]) -> None:
        futures = [started.submit(bin, (caller, slot)) for slot, bin in enumerate(bins)]
        answers[caller] = [future.result(PATIENCE_S) for future in futures]

    with batcher(lambda bin, items: [(bin, item) for item in items]) as started:
        threads = [
            threading.Thread(target=ask, args=(started, caller, bins))
            for caller, bins in enumerate(asked)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)

    assert answers == {
        caller: [(bin, (caller, slot)) for slot, bin in enumerate(bins)]
        for caller, bins in enumerate(asked)
    }
