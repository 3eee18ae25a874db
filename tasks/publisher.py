"""One thread that puts claimed runs into the queue, so that no event loop ever waits for Celery."""

import queue
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import groupby

import structlog
from kombu.exceptions import OperationalError

from storage.records import Ref
from tasks.app import run_chain
from tasks.errors import Unavailable
from tasks.message import MAX_RUNS, Lane, message

MAX_PREPROCESS_MS = 20.0
"""A message holds up its runs until the last of them is prepared: cheap ones only share one."""

PATIENCE = {"max_retries": 4, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 0.5}
"""Somebody waits for the answer: a queue that is away for 1.4 s is said to be away."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Ticket:
    """A claimed run on its way into the queue."""

    model: str
    lane: Lane
    ref: Ref
    cost_ms: float
    """Estimated time of its preprocessing."""
    sent: "Future[None]" = field(default_factory=Future, compare=False)


class Publisher:
    """Whatever was claimed while the last publish was under way goes into one message."""

    def __init__(self) -> None:
        self._tickets: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, daemon=True, name="publisher")
        self._thread.start()

    def publish(self, ticket: Ticket) -> "Future[None]":
        """Queue a run; the future ends when the broker has it, or with Unavailable."""
        self._tickets.put(ticket)
        return ticket.sent

    def stop(self) -> None:
        """Publish what waits, then end the thread."""
        self._tickets.put(None)
        self._thread.join(5)

    def _loop(self) -> None:
        while (first := self._tickets.get()) is not None:
            waiting = [first]
            while not self._tickets.empty():
                ticket = self._tickets.get()
                if ticket is None:
                    self._tickets.put(None)
                    break
                waiting.append(ticket)
            for group in groups(waiting):
                _send(group)


def groups(tickets: Iterable[Ticket]) -> Iterator[list[Ticket]]:
    """Tickets of one model and lane together, at most MAX_RUNS and MAX_PREPROCESS_MS a group."""
    ordered = sorted(tickets, key=lambda ticket: (ticket.lane, ticket.model))  # stable: keeps age
    for _, same in groupby(ordered, key=lambda ticket: (ticket.lane, ticket.model)):
        group: list[Ticket] = []
        for ticket in same:
            cost_ms = sum(other.cost_ms for other in group) + ticket.cost_ms
            if group and (len(group) == MAX_RUNS or cost_ms > MAX_PREPROCESS_MS):
                yield group
                group = []
            group.append(ticket)
        yield group


def _send(group: list[Ticket]) -> None:
    first = group[0]
    carried = message(first.model, first.lane, [ticket.ref for ticket in group])
    try:
        run_chain(carried).apply_async(retry_policy=PATIENCE)
    except (OperationalError, OSError) as error:
        log.warning("publish failed", runs=len(group), reason=str(error))
        failure = Unavailable("the queue does not answer", hint="Try again in a few seconds.")
        for ticket in group:
            ticket.sent.set_exception(failure)
        return
    for ticket in group:
        ticket.sent.set_result(None)
