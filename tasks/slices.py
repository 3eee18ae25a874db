"""Inference of a volume: its slices go to the device in chunks, a few ahead of the answers.

No more than AHEAD chunks of a volume wait at a time. So several volumes take turns, photos come
between the chunks, and a cancelled volume leaves the device after the batch that is running.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import Expired, ModelFailure
from tasks.models.base import Inferred
from tasks.time_limit import too_long

AHEAD = 2
"""Chunks that are at the device or wait there: one runs while the next one is assembled."""
REPORT_S, RENEW_S = 0.25, 10.0
"""Progress is reported so often at most, and at least."""
MOST_REPORTS = 100
"""Each makes a new version of the run, and a thousand versions are an attempt."""

Submit = Callable[[NDArray[Any], float], "Future[Inferred]"]
"""(slice, deadline of time.monotonic) -> the future of its output."""
Report = Callable[[int, int], bool]
"""(slices done, slices in all) -> False if the run was cancelled."""


@dataclass(frozen=True)
class Stack:
    """The outputs of a volume."""

    outputs: NDArray[Any]
    """Z x ..., of the dtype of the slices."""
    is_degraded: bool


@dataclass
class Pass:
    """One volume on its way through the device."""

    slices: NDArray[Any]
    """Z x C x H x W."""
    chunk: int
    deadline_s: float
    """Longest wait for a slice's answer."""
    left_s: float
    """Longest time for all of them."""
    limit_s: float
    """What the run may take in all its stages, of which that is left: for the error."""
    submit: Submit
    report: Report
    stop: "Future[None]"
    """Cancelled when the run is."""
    _sent: "deque[tuple[int, Sequence[Future[Inferred]]]]" = field(default_factory=deque)
    _reported: tuple[float, int] = (0.0, 0)

    def run(self) -> Stack:
        """All outputs. Raises CancelledError if the run was cancelled, ModelFailure with code
        `timeout` beyond a limit, and what the model raises for a slice."""
        ends = monotonic() + self.left_s
        outputs: NDArray[Any] | None = None
        is_degraded = False
        try:
            for number, inferred in self._answers(ends):
                if outputs is None:
                    shape = len(self.slices), *inferred.array.shape
                    outputs = np.empty(shape, self.slices.dtype)
                outputs[number] = inferred.array
                is_degraded |= inferred.is_degraded
        finally:
            self._give_up()
        if outputs is None:
            raise ModelFailure("the model's preprocess gave no slices")
        return Stack(outputs, is_degraded)

    def _answers(self, ends: float) -> Iterator[tuple[int, Inferred]]:
        """(number of the slice, its output), in order."""
        for start in range(0, len(self.slices), self.chunk):
            deadline = monotonic() + self.deadline_s
            part = self.slices[start : start + self.chunk]
            self._sent.append((start, [self.submit(item, deadline) for item in part]))
            if len(self._sent) == AHEAD:
                yield from self._chunk(ends)
        while self._sent:
            yield from self._chunk(ends)

    def _chunk(self, ends: float) -> Iterator[tuple[int, Inferred]]:
        """The outputs of the chunk that was sent first; then progress is reported."""
        start, futures = self._sent[0]
        for number, future in enumerate(futures, start):
            yield number, self._wait(future, ends, number)
        self._sent.popleft()
        self._tell(start + len(futures))

    def _wait(self, future: "Future[Inferred]", ends: float, done: int) -> Inferred:
        while True:
            if self.stop.cancelled():
                raise CancelledError
            left_s = ends - monotonic()
            if left_s <= 0:
                raise too_long(self.left_s, self.limit_s)
            try:
                return future.result(min(left_s, RENEW_S))
            except TimeoutError:
                if future.done():  # the model's own TimeoutError
                    raise
                self._tell(done)
            except Expired:
                raise ModelFailure(
                    f"the device did not answer within {self.deadline_s:g} s",
                    code="timeout",
                    hint="Try again when fewer jobs are waiting.",
                ) from None

    def _tell(self, done: int) -> None:
        """Report progress, unless that was done just now. Raises CancelledError."""
        at, earlier = self._reported
        age_s, total = monotonic() - at, len(self.slices)
        is_due = age_s > REPORT_S and (done - earlier) * MOST_REPORTS >= total
        if is_due or age_s > RENEW_S:
            self._reported = monotonic(), done
            if not self.report(done, total):
                raise CancelledError

    def _give_up(self) -> None:
        """Take what still waits out of the device's queue."""
        for _, futures in self._sent:
            for future in futures:
                future.cancel()
