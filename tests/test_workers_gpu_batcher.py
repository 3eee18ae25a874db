"""Batches form while the device is busy; nobody's answer is lost, doubled or somebody else's."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import Expired
from workers.gpu.batcher import Batcher, Run, Slots

PATIENCE_S = 10


class Device:
    """Answers `(bin, item)`; refuses items in `bad`; waits at `gate`; remembers what it ran."""

    def __init__(self, bad: frozenset[int] = frozenset()) -> None:
        self.bad = bad
        self.gate = threading.Event()
        self.busy = threading.Event()
        self.batches: list[tuple[Hashable, list[int]]] = []

    def run(self, bin: Hashable, items: Sequence[Any]) -> list[Any]:
        self.batches.append((bin, list(items)))
        self.busy.set()
        assert self.gate.wait(PATIENCE_S)
        if faulty := self.bad & set(items):
            raise ValueError(f"bad {min(faulty)}")
        return [(bin, item) for item in items]


def as_list(bin: Hashable, n: int) -> Any:
    return [None] * n


def as_array(bin: Hashable, n: int) -> Any:
    """As on a real device: slots hold copies, and a batch is a view of them."""
    return np.zeros(n, int)


@contextmanager
def batcher(
    run: Run, max_batch: Callable[[Hashable], int] = lambda bin: 4, slots: Slots = as_list
) -> Iterator[Batcher]:
    started = Batcher(run, max_batch, slots=slots)
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


def test_the_time_of_all_batches_is_added_up_that_of_the_present_one_included(
    device: Device,
) -> None:
    with batcher(device.run) as started:
        future = keep_busy(device, started)
        time.sleep(0.01)
        of_first = started.total_busy_s()
        device.gate.set()
        future.result(PATIENCE_S)
        started.submit("a", 1).result(PATIENCE_S)

    assert 0.01 <= of_first < started.total_busy_s()
    assert started.total_busy_s() == started.total_busy_s(), "an idle device"


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
    assert started.sizes == Counter(sizes) + Counter([("first", 1)])


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


def test_the_device_goes_on_after_a_model_that_ends_its_thread() -> None:
    def run(bin: Hashable, items: Sequence[Any]) -> list[Any]:
        return sys.exit(3) if items[0] == 1 else [items[0]]

    with batcher(run) as started:
        with pytest.raises(SystemExit):
            started.submit("a", 1).result(PATIENCE_S)

        assert started.submit("a", 2).result(PATIENCE_S) == 2


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


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.001)


class Assembled:
    """Slots that remember what was assembled in them, batch by batch."""

    def __init__(self) -> None:
        self.batches: list[Any] = []

    def __call__(self, bin: Hashable, n: int) -> Any:
        self.batches.append(np.full(n, -9))
        return self.batches[-1]

    def have(self, *numbers: int) -> bool:
        """Whether some batch begins with these items."""
        return any(list(batch[: len(numbers)]) == list(numbers) for batch in self.batches)


@contextmanager
def assembling(device: Device) -> Iterator[tuple[Batcher, Assembled]]:
    """A batcher whose device is busy, and what it assembles meanwhile."""
    assembled = Assembled()
    with batcher(device.run, slots=assembled) as started:
        keep_busy(device, started)
        yield started, assembled


def test_the_next_batch_is_assembled_while_the_device_is_busy(device: Device) -> None:
    with assembling(device) as (started, assembled):
        for number in range(6):
            started.submit("a", number)

        until(lambda: assembled.have(0, 1, 2, 3))
        device.gate.set()

    assert device.batches[1:] == [("a", [0, 1, 2, 3]), ("a", [4, 5])]


def test_an_item_that_comes_between_assembly_and_start_of_a_batch_joins_it(
    device: Device,
) -> None:
    with assembling(device) as (started, assembled):
        started.submit("a", 0)
        started.submit("a", 1)
        until(lambda: assembled.have(0, 1))
        started.submit("b", 100)
        started.submit("a", 2)
        device.gate.set()

    assert device.batches[1:] == [("a", [0, 1, 2]), ("b", [100])]


def test_an_item_that_is_cancelled_in_an_assembled_batch_makes_room_for_others(
    device: Device,
) -> None:
    with assembling(device) as (started, assembled):
        futures = [started.submit("a", number) for number in range(8)]
        until(lambda: assembled.have(0, 1, 2, 3))
        assert futures[0].cancel() and futures[2].cancel()
        device.gate.set()

        answers = [futures[number].result(PATIENCE_S) for number in (1, 3, 4, 5, 6, 7)]

    assert device.batches[1:] == [("a", [1, 3, 4, 5]), ("a", [6, 7])]
    assert answers == [("a", number) for number in (1, 3, 4, 5, 6, 7)]


def test_an_assembled_batch_whose_items_are_all_cancelled_lets_the_next_bin_run(
    device: Device,
) -> None:
    with assembling(device) as (started, assembled):
        gone = started.submit("a", 1)
        until(lambda: assembled.have(1))
        assert gone.cancel()
        future = started.submit("b", 2)
        device.gate.set()

        assert future.result(PATIENCE_S) == ("b", 2)

    assert device.batches[1:] == [("b", [2])]


def test_a_limit_that_falls_after_a_batch_was_assembled_holds_for_it(device: Device) -> None:
    assembled, most = Assembled(), {"first": 1, "a": 4}
    with batcher(device.run, most.__getitem__, assembled) as started:
        keep_busy(device, started)
        for number in range(6):
            started.submit("a", number)
        until(lambda: assembled.have(0, 1, 2, 3))
        most["a"] = 2  # as when its memory was full
        device.gate.set()

    assert [items for _, items in device.batches[1:]] == [[0, 1], [2, 3], [4, 5]]


def test_answers_are_given_while_the_next_batch_runs(device: Device) -> None:
    second = threading.Event()

    def run(bin: Hashable, items: Sequence[Any]) -> list[Any]:
        assert bin == "a" or second.wait(PATIENCE_S)
        return list(items)

    with batcher(run) as started:
        futures = [started.submit("a", 1), started.submit("b", 2)]

        assert futures[0].result(PATIENCE_S) == 1
        assert not futures[1].done()
        second.set()


def test_slots_are_reused(device: Device) -> None:
    assembled = Assembled()
    device.gate.set()
    with batcher(device.run, slots=assembled) as started:
        for number in range(50):
            assert started.submit("a", number).result(PATIENCE_S) == ("a", number)

    assert len(assembled.batches) <= 5


def test_a_failing_model_that_changes_its_batch_hurts_no_neighbour(device: Device) -> None:
    def run(bin: Hashable, items: Any) -> list[Any]:
        answers = [int(item) for item in items]
        items += 1000
        if 2 in answers:
            raise ValueError("bad 2")
        return answers

    with batcher(device.run) as busy:
        keep_busy(device, busy)
        with batcher(run, slots=as_array) as started:
            futures = [started.submit("a", number) for number in range(4)]
            errors = [future.exception(PATIENCE_S) for future in futures]
        device.gate.set()

    assert [number for number, error in enumerate(errors) if error] == [2]
    assert [futures[number].result() for number in (0, 1, 3)] == [0, 1, 3]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_answers_that_no_thread_gives_are_ignored_more_and_more(device: Device) -> None:
    def die(future: "Future[Any]") -> None:
        raise SystemExit  # no Exception: ends the assembler's thread

    device.gate.set()
    started = Batcher(device.run, lambda bin: 1)
    started.submit("a", 1).add_done_callback(die)
    started._assembler.join(PATIENCE_S)
    started.submit("a", 2)

    until(lambda: started.ignored_s() >= 0.05)


@pytest.mark.measures_time
def test_an_idle_batcher_uses_no_cpu(device: Device) -> None:
    device.gate.set()
    with batcher(device.run) as started:
        started.submit("a", 1).result(PATIENCE_S)
        began = time.process_time()

        time.sleep(0.2)

        assert time.process_time() - began < 0.05


def test_an_item_whose_deadline_has_passed_never_reaches_the_device(device: Device) -> None:
    with batcher(device.run) as started:
        keep_busy(device, started)
        late = started.submit("a", 1, deadline=time.monotonic() - 0.001)
        future = started.submit("a", 2, deadline=time.monotonic() + PATIENCE_S)
        device.gate.set()

        assert isinstance(late.exception(PATIENCE_S), Expired)
        assert future.result(PATIENCE_S) == ("a", 2)

    assert device.batches[1:] == [("a", [2])]
    assert started.counts["expired"] == 1


def test_dropped_items_leave_no_hole_in_the_batch(device: Device) -> None:
    with batcher(device.run, lambda bin: 4) as started:
        keep_busy(device, started)
        futures = [started.submit("a", number) for number in range(8)]
        assert all(future.cancel() for future in futures[1::2])
        device.gate.set()

    assert device.batches[1:] == [("a", [0, 2, 4, 6])]
    assert started.counts["cancelled"] == 4


def test_an_answer_that_is_an_error_fails_its_item_and_runs_nothing_again() -> None:
    runs = []

    def run(bin: Hashable, items: Sequence[Any]) -> list[Any]:
        runs.append(list(items))
        return [MemoryError(f"no room for {item}") if item == 1 else item for item in items]

    with batcher(run) as started:
        futures = [started.submit("a", number) for number in (1, 2)]

        with pytest.raises(MemoryError, match="no room for 1"):
            futures[0].result(PATIENCE_S)
        assert futures[1].result(PATIENCE_S) == 2

    assert sum(len(items) for items in runs) == 2


def test_an_idle_device_waits_for_company_where_that_pays(device: Device) -> None:
    asked = threading.Event()

    def company(bin: Hashable, count: int, gap_s: float) -> float:
        asked.set()
        return 10.0

    device.gate.set()
    started = Batcher(device.run, lambda bin: 2, company)
    first = started.submit("a", 1)
    assert asked.wait(PATIENCE_S) and device.batches == []
    second = started.submit("a", 2)

    assert [first.result(2), second.result(2)] == [("a", 1), ("a", 2)], "a full batch waits no more"
    assert device.batches == [("a", [1, 2])]
    started.stop()


def test_an_idle_device_waits_for_nobody_when_another_bin_is_ready(device: Device) -> None:
    with batcher(device.run) as busy:
        keep_busy(device, busy)
        started = Batcher(device.run, lambda bin: 2, lambda bin, count, gap_s: 30.0)
        futures = [started.submit("a", 1), started.submit("b", 2)]
        device.gate.set()

        assert futures[0].result(PATIENCE_S) == ("a", 1)
        started.stop()
        assert futures[1].result(PATIENCE_S) == ("b", 2), "stopping waits for nobody either"


def test_the_gap_between_arrivals_is_learnt(device: Device) -> None:
    gaps: list[float] = []

    def company(bin: Hashable, count: int, gap_s: float) -> float:
        gaps.append(gap_s)
        return 0.0

    device.gate.set()
    started = Batcher(device.run, lambda bin: 2, company)
    for number in range(20):
        started.submit("a", number).result(PATIENCE_S)
    started.stop()

    assert gaps[0] == 1 and gaps[-1] < 0.1, "a night without work counts as a second"


def test_it_says_for_how_long_the_device_has_been_busy(device: Device) -> None:
    with batcher(device.run) as started:
        assert started.busy_s() == 0
        keep_busy(device, started)
        began = time.monotonic()
        while time.monotonic() - began < 0.05:
            pass

        assert 0.05 <= started.busy_s() < PATIENCE_S
        device.gate.set()


def test_waiting_behind_a_busy_device_is_not_being_ignored(device: Device) -> None:
    with batcher(device.run) as started:
        keep_busy(device, started)
        started.submit("a", 1)
        time.sleep(0.05)

        assert started.ignored_s() == 0
        device.gate.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_item_that_waits_for_a_dead_thread_is_ignored_more_and_more() -> None:
    def die(bin: Hashable, items: Sequence[Any]) -> list[Any]:
        raise KeyboardInterrupt  # nobody's answer

    started = Batcher(die, lambda bin: 1)
    started.submit("a", 1)
    started._device.join(PATIENCE_S)
    started._is_busy = False
    started.submit("a", 2)

    end = time.monotonic() + PATIENCE_S
    while started.ignored_s() < 0.05 and time.monotonic() < end:
        time.sleep(0.01)
    assert started.ignored_s() >= 0.05


FATES = ["good", "good", "good", "bad", "cancelled", "expired"]

items = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(FATES),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(items, st.integers(1, 8), st.sampled_from([as_list, as_array]))
def test_every_item_is_answered_exactly_once_in_its_own_slot(
    asked: list[tuple[str, str]], largest: int, slots: Slots
) -> None:
    device = Device(bad=frozenset(n for n, (_, fate) in enumerate(asked) if fate == "bad"))
    with batcher(device.run, lambda bin: largest, slots) as started:
        keep_busy(device, started)
        futures = [ask(started, bin, number, fate) for number, (bin, fate) in enumerate(asked)]
        for number, (_, fate) in enumerate(asked):
            assert fate != "cancelled" or futures[number].cancel()
        device.gate.set()

    succeeded = [
        item for _, batch in device.batches[1:] if not device.bad & set(batch) for item in batch
    ]
    assert sorted(succeeded) == [n for n, (_, fate) in enumerate(asked) if fate == "good"]
    assert all(len(batch) <= largest for _, batch in device.batches)
    for number, (bin, fate) in enumerate(asked):
        assert outcome(futures[number]) == expected(bin, number, fate)


def ask(started: Batcher, bin: str, number: int, fate: str) -> "Future[Any]":
    deadline = 0.0 if fate == "expired" else float("inf")
    return started.submit(bin, number, deadline)


def outcome(future: "Future[Any]") -> object:
    """What came of an item, in a form that can be compared; fails if nothing has."""
    if future.cancelled():
        return "cancelled"
    error = future.exception(0)
    return future.result(0) if error is None else (type(error), str(error)[:6])


def expected(bin: str, number: int, fate: str) -> object:
    return {
        "good": (bin, number),
        "bad": (ValueError, f"bad {number}"[:6]),
        "cancelled": "cancelled",
        "expired": (Expired, "the de"),
    }[fate]


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(FATES)), max_size=12),
             min_size=1, max_size=4),
    st.integers(1, 6),
    st.sampled_from([as_list, as_array]),
)  # fmt: skip
def test_it_holds_while_items_arrive_cancel_and_fail_at_any_time(
    asked: list[list[tuple[str, str]]], largest: int, slots: Slots
) -> None:
    """As above, but against a running device: a cancel may come too late, and then is no cancel."""
    device = Device(
        bad=frozenset(
            1000 * caller + slot
            for caller, wishes in enumerate(asked)
            for slot, (_, fate) in enumerate(wishes)
            if fate == "bad"
        )
    )
    device.gate.set()
    outcomes: dict[tuple[int, int], object] = {}

    def call(started: Batcher, caller: int, wishes: list[tuple[str, str]]) -> None:
        for slot, (bin, fate) in enumerate(wishes):
            future = ask(started, bin, 1000 * caller + slot, fate)
            if fate == "cancelled" and not future.cancel():
                assert future.result(PATIENCE_S) == (bin, 1000 * caller + slot)
                outcomes[caller, slot] = "cancelled"
            else:
                wait([future], PATIENCE_S)
                outcomes[caller, slot] = outcome(future)

    with batcher(device.run, lambda bin: largest, slots) as started, ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(call, started, n, wishes) for n, wishes in enumerate(asked)]
        for pending in calls:
            pending.result(PATIENCE_S)

    assert outcomes == {
        (caller, slot): expected(bin, 1000 * caller + slot, fate)
        for caller, wishes in enumerate(asked)
        for slot, (bin, fate) in enumerate(wishes)
    }


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from("aaaaaaab"), max_size=60), st.integers(1, 5))
def test_no_item_is_overtaken_by_one_that_came_a_batch_later(bins: list[str], largest: int) -> None:
    device = Device()
    with batcher(device.run, lambda bin: largest) as started:
        keep_busy(device, started)
        for number, bin in enumerate(bins):
            started.submit(bin, number)
        device.gate.set()

    heads = [batch[0] for _, batch in device.batches[1:]]
    assert heads == sorted(heads), "each batch begins with the oldest of all that wait"


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
