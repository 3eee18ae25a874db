"""Puts claimed runs into the queue: what is claimed while others go in travels in one message."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from time import monotonic

import structlog

from storage.errors import StorageDown
from storage.jobs.queueing import enqueue_claimed
from storage.jobs.spec import RunRef
from storage.redis.calls import AsyncRedis
from tasks import envelope
from tasks.errors import Unavailable
from tasks.loops import LOOPS, Loop
from tasks.message import MAX_RUNS, Priority, new_message

MAX_PREPROCESS_MS = 20.0
"""A message holds up its runs until the last of them is prepared: cheap ones only share one."""
PATIENCE_S = 1.4
"""Somebody waits for the answer: a queue that is away for so long is said to be away."""
PAUSE_S = 0.2
HOLD_S = 0.003
"""Waiting per message that stands in the same line: so long at least none of these starts, and who
comes meanwhile travels along. Nobody waits in front of an idle worker."""
LONGEST_HOLD_S = 0.02
ALLOWED_S = 30.0
"""Age of the last group that was sent or given up, while others wait."""

log = structlog.get_logger()


@dataclass(frozen=True)
class PendingRun:
    """A claimed run on its way into the queue."""

    model: str
    priority: Priority
    ref: RunRef
    cost_ms: float
    """Estimated time of its preprocessing."""


class Publisher:
    """Sends one message at a time; whatever is claimed meanwhile waits and goes together.

    While messages stand in line, the next is held for a moment: a new one would only wait there.
    Whatever breaks, everybody who waits is told: a request never hangs on this.
    """

    def __init__(self, state: AsyncRedis) -> None:
        self._state = state
        self._waiting: list[tuple[PendingRun, asyncio.Future[None]]] = []
        self._sending: asyncio.Task[None] | None = None
        self._loop = Loop("publisher", ALLOWED_S)
        LOOPS.add(self._loop)
        self._loop.idle()

    async def publish(self, ticket: PendingRun) -> None:
        """Queue a run. Raises Unavailable when the broker does not take it."""
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((ticket, sent))
        if self._sending is None:
            self._begin()
        await sent

    async def stop(self) -> None:
        """Wait until everything is sent."""
        while self._sending:
            await asyncio.wait({self._sending})
        LOOPS.remove(self._loop)

    def _begin(self) -> None:
        self._loop.busy()
        self._sending = asyncio.create_task(self._send_all())
        self._sending.add_done_callback(self._over)

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._sending = None
        self._loop.idle()
        if task.cancelled():
            _give_up(self._waiting)
            self._waiting = []
        elif self._waiting:  # who came in the last moment
            self._begin()

    async def _send_all(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            ahead = 0
            try:
                ahead = await self._send_groups(taken)
                self._loop.tick()
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # the next may well be sent
                self._loop.fail(error)
            finally:
                _give_up(taken)
            if ahead:
                await asyncio.sleep(min(ahead * HOLD_S, LONGEST_HOLD_S))

    async def _send_groups(self, taken: list[tuple[PendingRun, "asyncio.Future[None]"]]) -> int:
        """Send all of these; how many messages stood in line before the last."""
        # Of one run twice, where a job joined it before its leader had heard that it leads.
        futures: dict[RunRef, list[asyncio.Future[None]]] = {}
        for ticket, sent in taken:
            futures.setdefault(ticket.ref, []).append(sent)
        tickets, ahead = {ticket.ref: ticket for ticket, _ in taken}, 0
        for group in groups(tickets.values()):
            found = await self._send(group)
            if isinstance(found, int):
                ahead = max(found - 1, 0)
            for sent in (sent for ticket in group for sent in futures[ticket.ref]):
                if sent.done():  # whoever asked is gone; the run goes on
                    continue
                if isinstance(found, Unavailable):
                    sent.set_exception(found)
                else:
                    sent.set_result(None)
        return ahead

    async def _send(self, group: list[PendingRun]) -> Unavailable | int:
        """How many messages stand in line now, this one included; or why it could not be sent."""
        refs = [ticket.ref for ticket in group]
        letter = envelope.first(new_message(group[0].model, group[0].priority, refs))
        give_up = monotonic() + PATIENCE_S
        while True:
            try:
                async with asyncio.timeout_at(give_up):
                    return await self._state.do(enqueue_claimed(letter, refs))
            except (StorageDown, TimeoutError) as error:
                if monotonic() + PAUSE_S > give_up:
                    log.warning("publish failed", runs=len(group), reason=str(error))
                    break
            await asyncio.sleep(PAUSE_S)
        return Unavailable("the queue does not answer", hint="Try again in a few seconds.")


def _give_up(waiting: Iterable[tuple[PendingRun, "asyncio.Future[None]"]]) -> None:
    """Tell those who still wait that they wait in vain."""
    for _, sent in waiting:
        if not sent.done():
            sent.set_exception(
                Unavailable("the run could not be queued", hint="Try again in a few seconds.")
            )


def groups(tickets: Iterable[PendingRun]) -> Iterator[list[PendingRun]]:
    """Runs of one model and priority, at most MAX_RUNS and MAX_PREPROCESS_MS a group."""
    ordered = sorted(
        tickets, key=lambda ticket: (ticket.priority, ticket.model)
    )  # stable: keeps age
    for _, same in groupby(ordered, key=lambda ticket: (ticket.priority, ticket.model)):
        group: list[PendingRun] = []
        for ticket in same:
            cost_ms = sum(other.cost_ms for other in group) + ticket.cost_ms
            if group and (len(group) == MAX_RUNS or cost_ms > MAX_PREPROCESS_MS):
                yield group
                group = []
            group.append(ticket)
        yield group
