"""Where items wait in front of the device: one queue per bin, and the batch that is assembled next.

Nothing here locks: `Batcher` calls all of it under its own lock.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from tasks import tracing
from workers.gpu.shares import PHOTOS, Flow

GAP_WEIGHT = 0.2
"""Weight of the newest gap between two arrivals in their running mean."""
MAX_GAP_S = 1.0
"""Longer gaps count as this: a night without work says nothing about the morning."""


@dataclass(frozen=True)
class Request:
    """One item that was submitted, and the future that its answer goes to."""

    item: Any
    at: float
    """When it was submitted (time.monotonic)."""
    deadline: float
    traceparent: str = ""
    """Of the stage that submitted it; empty if its run is not sampled."""
    future: "Future[Any]" = field(default_factory=Future)


@dataclass
class BinQueue:
    """The requests that wait in one bin, oldest first."""

    flow: Flow = PHOTOS
    """Whose share of the device's time they use."""
    requests: deque[Request] = field(default_factory=deque)
    last_at: float | None = None
    gap_s: float = MAX_GAP_S
    """Running mean of the time between arrivals."""

    def append(self, request: Request) -> None:
        """Queue a request and update the mean gap."""
        if self.last_at is not None:
            gap_s = min(request.at - self.last_at, MAX_GAP_S)
            self.gap_s += GAP_WEIGHT * (gap_s - self.gap_s)
        self.last_at = request.at
        self.requests.append(request)


@dataclass
class StagedBatch:
    """A batch that is being assembled. Its requests are older than all in its bin's queue."""

    bin: Hashable
    size: int
    """Most requests that it may hold."""
    slots: Any
    """The items side by side, as a list or an array; `slots[i]` is the item of `requests[i]`."""
    requests: list[Request] = field(default_factory=list)

    @property
    def items(self) -> Any:
        """The part of `slots` that is in use."""
        return self.slots[: len(self.requests)]

    def is_full(self) -> bool:
        """Whether no more requests may be added."""
        return len(self.requests) == self.size

    def add(self, request: Request) -> None:
        """Add a request and copy its item into the next slot."""
        self.slots[len(self.requests)] = request.item
        self.requests.append(request)

    def clear(self) -> list[Request]:
        """Remove all requests and return them. Their items stay in the slots for `add_back`."""
        removed, self.requests = self.requests, []
        return removed

    def add_back(self, request: Request, slot: int) -> None:
        """Add a request that `clear` removed from `slot`; its item moves only if it has to."""
        if slot != len(self.requests):
            self.slots[len(self.requests)] = self.slots[slot]
        self.requests.append(request)


class SpareBatches:
    """Batches that are not in use, whose slots are kept for the next ones."""

    MOST = 2
    """One batch is assembled while another one is on the device."""

    def __init__(self) -> None:
        self._batches: list[StagedBatch] = []

    def of(self, bin: Hashable, size: int) -> StagedBatch | None:
        """An empty one of this bin and size."""
        for batch in self._batches:
            if batch.bin == bin and batch.size == size:
                self._batches.remove(batch)
                return batch
        return None

    def keep(self, batch: StagedBatch) -> None:
        """Empty a batch and keep its slots, for a while."""
        batch.clear()
        self._batches = [batch, *self._batches][: self.MOST]


def batch_span(requests: Sequence[Request]) -> tracing.Span:
    """That of a batch on the device, linked to the stages whose items it has."""
    traceparents = [request.traceparent for request in requests]
    return tracing.linked("batch", traceparents, {"pixelmill.images": len(requests)})
