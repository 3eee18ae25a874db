"""Dynamic batching in front of one device: one bin per batch, oldest first; a bad item fails alone.

Slices of volumes take turns with photos, by the device's time (shares.py).

Two threads. The device's thread only runs batches. The assembler's thread does everything that does
not need the device meanwhile: it assembles the next batch and resolves the futures of the last one.
An assembled batch is not final: when it starts, cancelled and expired requests leave it, and
requests that have arrived since join it.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from functools import partial
from time import monotonic
from typing import Any

from tasks import tracing
from tasks.errors import Expired
from workers.gpu.shares import PHOTOS, Flow, Shares
from workers.gpu.staging import BinQueue, Request, SpareBatches, StagedBatch, batch_span

Run = Callable[[Hashable, Any], Sequence[Any]]
"""(bin, items) -> one answer per item, in order; an exception as answer fails that item alone.
Called on one thread only. The items are a slice of slots that will hold other items later: an
answer must not share their memory."""
Limit = Callable[[Hashable], int]
"""bin -> largest batch. Items of a bin have one shape, so a budget of pixels is a count."""
Wait = Callable[[Hashable, int, float], float]
"""(bin, items that wait, mean seconds between arrivals) -> seconds that an idle device should wait
for more items."""
Slots = Callable[[Hashable, int], Any]
"""(bin, n) -> memory for n items side by side, as a list or an array: `slots[i] = item` copies an
item, `slots[:n]` is the batch."""


class Batcher:
    """Collects items while the device is busy and runs them together, bin by bin."""

    def __init__(
        self,
        run: Run,
        limit: Limit,
        wait: Wait = lambda bin, count, gap_s: 0.0,
        slots: Slots = lambda bin, n: [None] * n,
    ) -> None:
        self.counts: Counter[str] = Counter()
        """batches, items, failed, and requests that were dropped: cancelled, expired."""
        self.sizes: Counter[tuple[Hashable, int]] = Counter()
        """(bin, items) -> batches that the device ran; a batch that was halved counts as its
        parts."""
        self._run, self._limit, self._wait, self._slots = run, limit, wait, slots
        self._queues: dict[Hashable, BinQueue] = {}
        self._shares = Shares()
        self._next: StagedBatch | None = None
        self._spare = SpareBatches()
        self._callbacks: deque[tuple[float, Callable[[], None]]] = deque()
        """What the assembler has to do about batches that have run, and since when."""
        self._lock = threading.Lock()
        self._wake_device = threading.Condition(self._lock)
        self._wake_assembler = threading.Condition(self._lock)
        self._stopped = self._is_over = False
        self._is_busy, self._since = False, monotonic()
        self._busy_before_s = 0.0
        """Of all batches before the present one."""
        self._device = threading.Thread(target=self._run_batches, daemon=True, name="device")
        self._assembler = threading.Thread(target=self._assemble, daemon=True, name="assembler")
        self._device.start()
        self._assembler.start()

    def submit(
        self, bin: Hashable, item: Any, deadline: float = float("inf"), flow: Flow = PHOTOS
    ) -> "Future[Any]":
        """Queue one item; its future ends with the answer or with the item's own error.

        When its batch starts, an item whose future was cancelled is dropped, and one past
        `deadline` (of time.monotonic) ends with Expired. `flow`: whose share of the device's time
        it uses; the same for all items of a bin.
        """
        request = Request(item, monotonic(), deadline, tracing.current())
        with self._lock:
            if self._stopped:
                raise RuntimeError("the batcher has been stopped")
            if bin not in self._queues:
                self._queues[bin] = BinQueue(flow)
            self._queues[bin].append(request)
            if not self._is_busy:
                self._wake_device.notify()
            elif self._next is None:
                self._wake_assembler.notify()
            elif self._next.bin == bin:
                self._add_oldest()  # on the caller's thread: cheaper than waking the assembler
        return request.future

    def stop(self) -> None:
        """Take no more items, run those that wait, and return when the device is idle."""
        with self._lock:
            self._stopped = True
            self._wake_device.notify()
        self._device.join()
        with self._lock:
            self._is_over = True
            self._wake_assembler.notify()
        self._assembler.join()

    def busy_s(self) -> float:
        """For how long the device has been running its present batch; 0 while it is idle."""
        with self._lock:
            return monotonic() - self._since if self._is_busy else 0.0

    def total_busy_s(self) -> float:
        """For how long the device has run batches since the start."""
        with self._lock:
            return self._busy_before_s + (monotonic() - self._since if self._is_busy else 0.0)

    def waiting(self) -> Counter[Hashable]:
        """Bin -> photos that are not on the device yet."""
        with self._lock:
            photos = {bin: queue for bin, queue in self._queues.items() if queue.flow == PHOTOS}
            counts = Counter({bin: len(queue.requests) for bin, queue in photos.items()})
            if self._next and self._next.bin in photos:
                counts[self._next.bin] += len(self._next.requests)
            return counts

    def ignored_s(self) -> float:
        """For how long an item has waited for an idle device, or an answer for its future.

        A long time means that the thread in charge has died.
        """
        with self._lock:
            since = [at for at, _ in self._callbacks]
            waiting = [queue.requests for queue in self._queues.values()]
            staged = self._next.requests if self._next else ()
            oldest = [requests[0].at for requests in (*waiting, staged) if requests]
            if oldest and not self._is_busy:
                since.append(max(self._since, min(oldest)))
            return monotonic() - min(since) if since else 0.0

    # On the device's thread.

    def _run_batches(self) -> None:
        batch = None
        while (batch := self._next_to_run(batch)) is not None:
            self._run_batch(batch.bin, batch.requests, batch.items)

    def _next_to_run(self, previous: StagedBatch | None) -> StagedBatch | None:
        """Waits for the batch that starts now; None once the batcher has been stopped.

        The assembler takes care of `previous`, the batch that has just run.
        """
        with self._lock:
            now, began = monotonic(), self._since
            self._busy_before_s += now - began if self._is_busy else 0.0
            self._is_busy, self._since = False, now
            if previous:
                self._defer(partial(self._release, previous))
                self._shares.end(self._queues[previous.bin].flow, now - began)
            while True:
                batch = self._staged()
                if batch is None:
                    if self._stopped:
                        return None
                    self._wake_device.wait()
                elif (pause_s := self._pause_s(batch)) > 0:
                    self._wake_device.wait(pause_s)
                else:
                    self._next = None
                    if self._finalise(batch):
                        self._is_busy, self._since = True, monotonic()
                        self._shares.begin(self._queues[batch.bin].flow)
                        self._wake_assembler.notify()  # it may assemble the next batch
                        return batch
                    self._spare.keep(batch)

    def _pause_s(self, batch: StagedBatch) -> float:
        """How much longer an idle device should wait for more items; 0 if other bins wait too."""
        queue = self._queues[batch.bin]
        others = any(other.requests for other in self._queues.values() if other is not queue)
        count = len(batch.requests) + len(queue.requests)
        if others or self._stopped or count >= batch.size:
            return 0.0
        wait_s = self._wait(batch.bin, count, queue.gap_s)
        oldest = (batch.requests or queue.requests)[0]
        return oldest.at + wait_s - monotonic() if wait_s else 0.0

    def _finalise(self, batch: StagedBatch) -> bool:
        """Drop cancelled and expired requests, add those that have arrived since.

        False if no request is left.
        """
        queue, limit = self._queues[batch.bin], max(1, min(self._limit(batch.bin), batch.size))
        staged = batch.clear()
        for slot, request in enumerate(staged):
            if len(batch.requests) == limit:  # the limit has been lowered since
                queue.requests.extendleft(reversed(staged[slot:]))
                break
            if self._is_due(request):
                batch.add_back(request, slot)
        while len(batch.requests) < limit and queue.requests:
            if self._is_due(request := queue.requests.popleft()):
                batch.add(request)
        return bool(batch.requests)

    def _is_due(self, request: Request) -> bool:
        if not request.future.set_running_or_notify_cancel():
            self.counts["cancelled"] += 1
            return False
        if monotonic() > request.deadline:
            self.counts["expired"] += 1
            late = Expired("the deadline came before the device was free")
            self._defer(partial(request.future.set_exception, late))
            return False
        return True

    def _run_batch(self, bin: Hashable, requests: Sequence[Request], items: Any) -> None:
        """Run a batch; one that fails is halved until only the item at fault fails."""
        try:
            with batch_span(requests):
                answers = self._run(bin, items)
            if len(answers) != len(requests):
                raise ValueError(f"{len(answers)} answers for a batch of {len(requests)}")
        except (Exception, SystemExit) as error:  # a model's function may raise anything
            if len(requests) > 1:
                for slot, request in enumerate(requests):
                    items[slot] = request.item  # the model may have changed it
                half = len(requests) // 2
                self._run_batch(bin, requests[:half], items[:half])
                self._run_batch(bin, requests[half:], items[half:])
                return
            answers = [error]
        self.counts["batches"] += 1
        self.sizes[bin, len(requests)] += 1
        with self._lock:
            self._defer(partial(self._resolve, requests, answers))

    # On the assembler's thread.

    def _assemble(self) -> None:
        while (callback := self._next_callback()) is not None:
            callback()

    def _next_callback(self) -> Callable[[], None] | None:
        """Waits for a callback and assembles the next batch meanwhile; None at the end."""
        while True:
            with self._lock:
                if self._callbacks:
                    return self._callbacks.popleft()[1]
                if self._is_busy and self._add_oldest():
                    continue  # releases the lock between two items
                if self._is_over:
                    return None
                self._wake_assembler.wait()

    def _resolve(self, requests: Sequence[Request], answers: Sequence[Any]) -> None:
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, Exception | SystemExit):
                self.counts["failed"] += 1
                request.future.set_exception(answer)
            else:
                self.counts["items"] += 1
                request.future.set_result(answer)

    def _release(self, batch: StagedBatch) -> None:
        with self._lock:
            self._spare.keep(batch)

    # On any thread, under the lock.

    def _defer(self, callback: Callable[[], None]) -> None:
        """Let the assembler's thread call this."""
        self._callbacks.append((monotonic(), callback))
        self._wake_assembler.notify()

    def _add_oldest(self) -> bool:
        """Add one more request to the next batch; False if none waits or the batch is full."""
        batch = self._staged()
        if batch is None or batch.is_full() or not (queue := self._queues[batch.bin]).requests:
            return False
        batch.add(queue.requests.popleft())
        return True

    def _staged(self) -> StagedBatch | None:
        """The next batch: of the flow whose turn it is, the bin whose first request has waited
        longest."""
        if self._next is None:
            waiting = {bin: queue for bin, queue in self._queues.items() if queue.requests}
            if waiting:
                flow = self._shares.next({queue.flow for queue in waiting.values()})
                own = (bin for bin, queue in waiting.items() if queue.flow == flow)
                oldest = min(own, key=lambda bin: waiting[bin].requests[0].at)
                self._next = self._empty_batch(oldest)
        return self._next

    def _empty_batch(self, bin: Hashable) -> StagedBatch:
        """A batch of as many slots as the bin allows now, from the spare ones if possible."""
        size = max(1, self._limit(bin))
        spare = self._spare.of(bin, size)
        return spare or StagedBatch(bin, size, self._slots(bin, size))
