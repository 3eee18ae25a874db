"""Size-binned dynamic batching in front of one device: greedy, oldest first, one bad item alone."""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

Run = Callable[[Hashable, Sequence[Any]], Sequence[Any]]
"""(bin, items) -> one answer per item, in order. Called on the batcher's own thread only."""


@dataclass
class _Lane:
    items: deque[tuple[float, Any, "Future[Any]"]] = field(default_factory=deque)


class Batcher:
    """Collects what waits while the device is busy and runs it together, bin by bin."""

    def __init__(self, run: Run, max_batch: Callable[[Hashable], int]) -> None:
        self._run, self._max_batch = run, max_batch
        self._lanes: dict[Hashable, _Lane] = {}
        self._wake = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._loop, daemon=True, name="device")
        self._thread.start()

    def submit(self, bin: Hashable, item: Any) -> "Future[Any]":
        """Queue one item; its future gives the answer or the item's own error."""
        future: Future[Any] = Future()
        with self._wake:
            if self._stopped:
                raise RuntimeError("the batcher has been stopped")
            self._lanes.setdefault(bin, _Lane()).items.append((monotonic(), item, future))
            self._wake.notify()
        return future

    def stop(self) -> None:
        """Take nothing more; run what waits; return when the device is idle."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._thread.join()

    def _loop(self) -> None:
        while batch := self._next():
            bin, pairs = batch
            self._answer(bin, pairs)

    def _next(self) -> tuple[Hashable, list[tuple[Any, "Future[Any]"]]] | None:
        """The next batch: of the bin whose head has waited longest; None once stopped and empty."""
        with self._wake:
            while True:
                waiting = {bin: lane for bin, lane in self._lanes.items() if lane.items}
                if not waiting and self._stopped:
                    return None
                if waiting:
                    bin = min(waiting, key=lambda bin: waiting[bin].items[0][0])
                    pairs = self._take(bin, waiting[bin])
                    if pairs:
                        return bin, pairs
                    continue
                self._wake.wait()

    def _take(self, bin: Hashable, lane: _Lane) -> list[tuple[Any, "Future[Any]"]]:
        pairs: list[tuple[Any, Future[Any]]] = []
        while lane.items and len(pairs) < self._max_batch(bin):
            _, item, future = lane.items.popleft()
            if future.set_running_or_notify_cancel():
                pairs.append((item, future))
        return pairs

    def _answer(self, bin: Hashable, pairs: list[tuple[Any, "Future[Any]"]]) -> None:
        """Run a batch; a failing one is halved until only the bad item fails."""
        try:
            answers = self._run(bin, [item for item, _ in pairs])
            if len(answers) != len(pairs):
                raise ValueError(f"{len(answers)} answers for a batch of {len(pairs)}")
        except Exception as error:
            if len(pairs) == 1:
                pairs[0][1].set_exception(error)
                return
            half = len(pairs) // 2
            self._answer(bin, pairs[:half])
            self._answer(bin, pairs[half:])
            return
        for (_, future), answer in zip(pairs, answers, strict=True):
            future.set_result(answer)
