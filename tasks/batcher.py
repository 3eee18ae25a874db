"""Size-binned dynamic batching in front of one device: greedy, oldest first, one bad item alone."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

Run = Callable[[Hashable, Sequence[Any]], Sequence[Any]]
"""(bin, items) -> one answer per item, in order; an exception as answer is that item's failure.
Called on the batcher's own thread only."""
Limit = Callable[[Hashable], int]
"""bin -> most items of a batch. Items of a bin have one shape: a budget of pixels is a count."""
Wait = Callable[[Hashable, int, float], float]
"""(bin, items that wait, seconds between arrivals) -> seconds that an idle device should wait."""

GAP_WEIGHT = 0.2
"""Of the newest gap between two arrivals in their running mean."""
LONGEST_GAP_S = 1.0
"""A night without work tells nothing of the morning."""


class Expired(Exception):
    """The item's deadline came before its batch."""


@dataclass(frozen=True)
class _Asked:
    item: Any
    at: float
    deadline: float
    future: "Future[Any]" = field(default_factory=Future)


@dataclass
class _Lane:
    """What waits in one bin, oldest first."""

    asked: deque[_Asked] = field(default_factory=deque)
    last_at: float | None = None
    gap_s: float = LONGEST_GAP_S
    """Running mean of the time between arrivals."""

    def append(self, one: _Asked) -> None:
        if self.last_at is not None:
            gap_s = min(one.at - self.last_at, LONGEST_GAP_S)
            self.gap_s += GAP_WEIGHT * (gap_s - self.gap_s)
        self.last_at = one.at
        self.asked.append(one)


class Batcher:
    """Collects what waits while the device is busy and runs it together, bin by bin."""

    def __init__(self, run: Run, limit: Limit, wait: Wait = lambda bin, count, gap_s: 0.0) -> None:
        self.counts: Counter[str] = Counter()
        """batches, items, failed, and what was dropped: cancelled, expired."""
        self.sizes: Counter[tuple[Hashable, int]] = Counter()
        """(bin, items) -> batches that the device was given; a halved one counts by its parts."""
        self._run, self._limit, self._wait = run, limit, wait
        self._lanes: dict[Hashable, _Lane] = {}
        self._wake = threading.Condition()
        self._stopped = False
        self._is_busy, self._since = False, monotonic()
        self._thread = threading.Thread(target=self._loop, daemon=True, name="device")
        self._thread.start()

    def submit(self, bin: Hashable, item: Any, deadline: float = float("inf")) -> "Future[Any]":
        """Queue one item; its future gives the answer or the item's own error.

        When its batch forms, an item whose future was cancelled is dropped, and one past `deadline`
        (of time.monotonic) ends with Expired.
        """
        one = _Asked(item, monotonic(), deadline)
        with self._wake:
            if self._stopped:
                raise RuntimeError("the batcher has been stopped")
            self._lanes.setdefault(bin, _Lane()).append(one)
            self._wake.notify()
        return one.future

    def stop(self) -> None:
        """Take nothing more; run what waits; return when the device is idle."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._thread.join()

    def busy_s(self) -> float:
        """For how long the device has been at its present batch; 0 while it is idle."""
        with self._wake:
            return monotonic() - self._since if self._is_busy else 0.0

    def ignored_s(self) -> float:
        """For how long an item has waited on an idle device: its thread is gone if that is long."""
        with self._wake:
            heads = [lane.asked[0].at for lane in self._lanes.values() if lane.asked]
            if self._is_busy or not heads:
                return 0.0
            return monotonic() - max(self._since, min(heads))

    def _loop(self) -> None:
        while (bin := self._oldest()) is not None:
            self._mark(is_busy=True)
            if batch := self._form(bin):
                self._answer(bin, batch)
            self._mark(is_busy=False)

    def _mark(self, *, is_busy: bool) -> None:
        with self._wake:
            self._is_busy, self._since = is_busy, monotonic()

    def _oldest(self) -> Hashable | None:
        """The bin whose head has waited longest, once it should run; None once all is done."""
        with self._wake:
            while True:
                waiting = {bin: lane for bin, lane in self._lanes.items() if lane.asked}
                if not waiting:
                    if self._stopped:
                        return None
                    self._wake.wait()
                    continue
                bin = min(waiting, key=lambda bin: waiting[bin].asked[0].at)
                pause_s = self._pause_s(bin, waiting)
                if pause_s <= 0:
                    return bin
                self._wake.wait(pause_s)

    def _pause_s(self, bin: Hashable, waiting: dict[Hashable, _Lane]) -> float:
        """How much longer an idle device should wait for company; never when others wait too."""
        lane, count = waiting[bin], len(waiting[bin].asked)
        if len(waiting) > 1 or self._stopped or count >= self._limit(bin):
            return 0.0
        wait_s = self._wait(bin, count, lane.gap_s)
        return lane.asked[0].at + wait_s - monotonic() if wait_s else 0.0

    def _form(self, bin: Hashable) -> list[_Asked]:
        """The oldest items of a bin that are still wanted, as many as its limit."""
        batch: list[_Asked] = []
        limit = max(1, self._limit(bin))
        while len(batch) < limit and (asked := self._pop(bin, limit - len(batch))):
            batch += [one for one in asked if self._is_due(one)]
        return batch

    def _pop(self, bin: Hashable, most: int) -> list[_Asked]:
        with self._wake:
            asked = self._lanes[bin].asked
            return [asked.popleft() for _ in range(min(most, len(asked)))]

    def _is_due(self, one: _Asked) -> bool:
        if not one.future.set_running_or_notify_cancel():
            self.counts["cancelled"] += 1
            return False
        if monotonic() > one.deadline:
            self.counts["expired"] += 1
            one.future.set_exception(Expired("the deadline came before the device was free"))
            return False
        return True

    def _answer(self, bin: Hashable, batch: list[_Asked]) -> None:
        """Run a batch; a failing one is halved until only the bad item fails."""
        try:
            answers = self._run(bin, [one.item for one in batch])
            if len(answers) != len(batch):
                raise ValueError(f"{len(answers)} answers for a batch of {len(batch)}")
        except Exception as error:
            if len(batch) > 1:
                half = len(batch) // 2
                self._answer(bin, batch[:half])
                self._answer(bin, batch[half:])
                return
            answers = [error]
        self.counts["batches"] += 1
        self.sizes[bin, len(batch)] += 1
        for one, answer in zip(batch, answers, strict=True):
            self._settle(one.future, answer)

    def _settle(self, future: "Future[Any]", answer: Any) -> None:
        if isinstance(answer, Exception):
            self.counts["failed"] += 1
            future.set_exception(answer)
        else:
            self.counts["items"] += 1
            future.set_result(answer)
