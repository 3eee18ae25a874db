"""Size-binned dynamic batching in front of one device: greedy, oldest first, one bad item alone.

Two threads. One does nothing but run batches. The other, the porter, does meanwhile what does not
need the device: it lays out the next batch and tells the answers of the last one. What is laid out
is bound to nothing: as the batch starts, whoever is cancelled or expired leaves it, and whoever has
come since joins it.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

from tasks.errors import Expired

Run = Callable[[Hashable, Any], Sequence[Any]]
"""(bin, items) -> one answer per item, in order; an exception as answer is that item's failure.
Called on one thread only. The items are a slice of slots, which hold others later: an answer must
not share their memory."""
Limit = Callable[[Hashable], int]
"""bin -> most items of a batch. Items of a bin have one shape: a budget of pixels is a count."""
Wait = Callable[[Hashable, int, float], float]
"""(bin, items that wait, seconds between arrivals) -> seconds that an idle device should wait."""
Slots = Callable[[Hashable, int], Any]
"""(bin, n) -> room for n items side by side, as a list or an array: `slots[i] = item` lays one
there, `slots[:n]` is the batch."""

GAP_WEIGHT = 0.2
"""Of the newest gap between two arrivals in their running mean."""
LONGEST_GAP_S = 1.0
"""A night without work tells nothing of the morning."""
SPARE_TRAYS = 2
"""One is laid out while another is on the device."""


def _list(bin: Hashable, n: int) -> list[Any]:
    return [None] * n


@dataclass(frozen=True)
class _Asked:
    item: Any
    at: float
    deadline: float
    future: "Future[Any]" = field(default_factory=Future)


@dataclass
class _BinQueue:
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


@dataclass
class _Tray:
    """A batch as it is laid out: older than all that waits in its bin's queue."""

    bin: Hashable
    size: int
    slots: Any
    asked: list[_Asked] = field(default_factory=list)

    def is_full(self) -> bool:
        return len(self.asked) == self.size

    def lay(self, one: _Asked) -> None:
        self.slots[len(self.asked)] = one.item
        self.asked.append(one)

    def lift(self) -> list[_Asked]:
        """All that were laid; the tray is empty, though what they laid there is there still."""
        laid, self.asked = self.asked, []
        return laid

    def keep(self, one: _Asked, slot: int) -> None:
        """Lay one back that lay in `slot`, beside those that were kept before."""
        if slot != len(self.asked):
            self.slots[len(self.asked)] = self.slots[slot]
        self.asked.append(one)


class Batcher:
    """Collects what waits while the device is busy and runs it together, bin by bin."""

    def __init__(
        self,
        run: Run,
        limit: Limit,
        wait: Wait = lambda bin, count, gap_s: 0.0,
        slots: Slots = _list,
    ) -> None:
        self.counts: Counter[str] = Counter()
        """batches, items, failed, and what was dropped: cancelled, expired."""
        self.sizes: Counter[tuple[Hashable, int]] = Counter()
        """(bin, items) -> batches that the device was given; a halved one counts by its parts."""
        self._run, self._limit, self._wait, self._slots = run, limit, wait, slots
        self._queues: dict[Hashable, _BinQueue] = {}
        self._next: _Tray | None = None
        self._spare: list[_Tray] = []
        self._untold: deque[tuple[float, Callable[[], None]]] = deque()
        """What the porter has to do with a batch that is over, since when."""
        self._lock = threading.Lock()
        self._for_device = threading.Condition(self._lock)
        self._for_porter = threading.Condition(self._lock)
        self._stopped = self._is_over = False
        self._is_busy, self._since = False, monotonic()
        self._thread = threading.Thread(target=self._serve, daemon=True, name="device")
        self._porter = threading.Thread(target=self._carry, daemon=True, name="porter")
        self._thread.start()
        self._porter.start()

    def submit(self, bin: Hashable, item: Any, deadline: float = float("inf")) -> "Future[Any]":
        """Queue one item; its future gives the answer or the item's own error.

        As its batch starts, an item whose future was cancelled is dropped, and one past `deadline`
        (of time.monotonic) ends with Expired.
        """
        one = _Asked(item, monotonic(), deadline)
        with self._lock:
            if self._stopped:
                raise RuntimeError("the batcher has been stopped")
            self._queues.setdefault(bin, _BinQueue()).append(one)
            if not self._is_busy:
                self._for_device.notify()
            elif self._next is None:
                self._for_porter.notify()
            elif self._next.bin == bin:
                self._lay()  # by whoever brings it: many hands, and nobody is woken
        return one.future

    def stop(self) -> None:
        """Take nothing more; run what waits; return when the device is idle."""
        with self._lock:
            self._stopped = True
            self._for_device.notify()
        self._thread.join()
        with self._lock:
            self._is_over = True
            self._for_porter.notify()
        self._porter.join()

    def busy_s(self) -> float:
        """For how long the device has been at its present batch; 0 while it is idle."""
        with self._lock:
            return monotonic() - self._since if self._is_busy else 0.0

    def ignored_s(self) -> float:
        """For how long an item has waited on an idle device, or an answer to be told.

        The thread that should have seen to it is gone if that is long.
        """
        with self._lock:
            since = [at for at, _ in self._untold]
            waiting = [queue.asked for queue in self._queues.values()]
            heads = [asked[0].at for asked in (*waiting, self._laid()) if asked]
            if heads and not self._is_busy:
                since.append(max(self._since, min(heads)))
            return monotonic() - min(since) if since else 0.0

    # The device's thread.

    def _serve(self) -> None:
        tray = None
        while (tray := self._begin(tray)) is not None:
            self._answer(tray.bin, tray.asked, tray.slots[: len(tray.asked)])

    def _begin(self, done: _Tray | None) -> _Tray | None:
        """The batch that starts now, once there is one; None once there will be none.

        `done` is the one before: the porter sees to it.
        """
        with self._lock:
            self._is_busy, self._since = False, monotonic()
            if done:
                self._leave(partial(self._put_away, done))
            while True:
                tray = self._opened()
                if tray is None:
                    if self._stopped:
                        return None
                    self._for_device.wait()
                elif (pause_s := self._pause_s(tray)) > 0:
                    self._for_device.wait(pause_s)
                else:
                    self._next = None
                    if self._bind(tray):
                        self._is_busy, self._since = True, monotonic()
                        self._for_porter.notify()  # there is more to lay out
                        return tray
                    self._keep(tray)

    def _pause_s(self, tray: _Tray) -> float:
        """How much longer an idle device should wait for company; never when others wait too."""
        queue = self._queues[tray.bin]
        others = any(found.asked for found in self._queues.values() if found is not queue)
        count = len(tray.asked) + len(queue.asked)
        if others or self._stopped or count >= tray.size:
            return 0.0
        wait_s = self._wait(tray.bin, count, queue.gap_s)
        oldest = (tray.asked or queue.asked)[0]
        return oldest.at + wait_s - monotonic() if wait_s else 0.0

    def _bind(self, tray: _Tray) -> bool:
        """Who is still wanted stays, who has come since joins; whether there is anybody."""
        queue, limit = self._queues[tray.bin], max(1, min(self._limit(tray.bin), tray.size))
        laid = tray.lift()
        for slot, one in enumerate(laid):
            if len(tray.asked) == limit:  # which was lowered meanwhile
                queue.asked.extendleft(reversed(laid[slot:]))
                break
            if self._is_due(one):
                tray.keep(one, slot)
        while len(tray.asked) < limit and queue.asked:
            if self._is_due(one := queue.asked.popleft()):
                tray.lay(one)
        return bool(tray.asked)

    def _is_due(self, one: _Asked) -> bool:
        if not one.future.set_running_or_notify_cancel():
            self.counts["cancelled"] += 1
            return False
        if monotonic() > one.deadline:
            self.counts["expired"] += 1
            late = Expired("the deadline came before the device was free")
            self._leave(partial(one.future.set_exception, late))
            return False
        return True

    def _answer(self, bin: Hashable, asked: Sequence[_Asked], items: Any) -> None:
        """Run a batch; a failing one is halved until only the bad item fails."""
        try:
            answers = self._run(bin, items)
            if len(answers) != len(asked):
                raise ValueError(f"{len(answers)} answers for a batch of {len(asked)}")
        except Exception as error:
            if len(asked) > 1:
                for slot, one in enumerate(asked):
                    items[slot] = one.item  # a model may have changed it
                half = len(asked) // 2
                self._answer(bin, asked[:half], items[:half])
                self._answer(bin, asked[half:], items[half:])
                return
            answers = [error]
        self.counts["batches"] += 1
        self.sizes[bin, len(asked)] += 1
        with self._lock:
            self._leave(partial(self._tell, asked, answers))

    # The porter's thread.

    def _carry(self) -> None:
        while (errand := self._errand()) is not None:
            errand()

    def _errand(self) -> Callable[[], None] | None:
        """What is to be told now; lays out the next batch meanwhile; None once all is done."""
        while True:
            with self._lock:
                if self._untold:
                    return self._untold.popleft()[1]
                if self._is_busy and self._lay():
                    continue  # lets go of the lock between two items
                if self._is_over:
                    return None
                self._for_porter.wait()

    def _tell(self, asked: Sequence[_Asked], answers: Sequence[Any]) -> None:
        for one, answer in zip(asked, answers, strict=True):
            if isinstance(answer, Exception):
                self.counts["failed"] += 1
                one.future.set_exception(answer)
            else:
                self.counts["items"] += 1
                one.future.set_result(answer)

    def _put_away(self, tray: _Tray) -> None:
        with self._lock:
            self._keep(tray)

    # Under the lock, on any thread.

    def _leave(self, errand: Callable[[], None]) -> None:
        """Leave something to the porter."""
        self._untold.append((monotonic(), errand))
        self._for_porter.notify()

    def _laid(self) -> Sequence[_Asked]:
        return self._next.asked if self._next else ()

    def _lay(self) -> bool:
        """Lay out one more item of the next batch; whether there was one, and room for it."""
        tray = self._opened()
        if tray is None or tray.is_full() or not (queue := self._queues[tray.bin]).asked:
            return False
        tray.lay(queue.asked.popleft())
        return True

    def _opened(self) -> _Tray | None:
        """The tray of the next batch: of the bin whose head has waited longest."""
        if self._next is None:
            waiting = {bin: queue for bin, queue in self._queues.items() if queue.asked}
            if waiting:
                self._next = self._tray(min(waiting, key=lambda bin: waiting[bin].asked[0].at))
        return self._next

    def _tray(self, bin: Hashable) -> _Tray:
        """An empty one with room for as many as the bin allows now."""
        size = max(1, self._limit(bin))
        for tray in self._spare:
            if tray.bin == bin and tray.size == size:
                self._spare.remove(tray)
                return tray
        return _Tray(bin, size, self._slots(bin, size))

    def _keep(self, tray: _Tray) -> None:
        tray.asked = []
        self._spare = [tray, *self._spare][:SPARE_TRAYS]
