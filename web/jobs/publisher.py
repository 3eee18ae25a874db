"""Queues claimed runs: those that are claimed while a message is being sent share the next one."""

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
"""A message holds up its runs until the last of them is preprocessed, so only cheap runs share one.
"""
RETRY_FOR_S = 1.4
"""A client waits for the answer: a queue that does not answer for this long is unavailable."""
PAUSE_S = 0.2
HOLD_S = 0.003
"""How long the next message is held per message that waits in the queue. Its runs would only wait
there; meanwhile others join it. In front of an idle worker nothing is held."""
LONGEST_HOLD_S = 0.02
ALLOWED_S = 30.0
"""How old the last group that was sent or given up may get while others wait."""

log = structlog.get_logger()


@dataclass(frozen=True)
class PendingRun:
    """A claimed run that is not queued yet."""

    model: str
    priority: Priority
    ref: RunRef
    cost_ms: float
    """Estimated time of its preprocessing."""


Waiting = tuple[PendingRun, "asyncio.Future[None]"]
"""A pending run, and the future of the request that waits until it is queued."""


class Publisher:
    """Sends one message at a time; runs that are claimed meanwhile wait and go together.

    While messages wait in the queue, the next one is held for a moment (HOLD_S). Whatever breaks,
    every waiting request gets an answer: none hangs on this.
    """

    def __init__(self, state: AsyncRedis) -> None:
        self._state = state
        self._waiting: list[Waiting] = []
        self._sending: asyncio.Task[None] | None = None
        self._loop = Loop("publisher", ALLOWED_S)
        LOOPS.add(self._loop)
        self._loop.idle()

    async def publish(self, pending: PendingRun) -> None:
        """Queue a run. Raises Unavailable when the queue does not accept it."""
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((pending, sent))
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
        elif self._waiting:  # those who came in the last moment
            self._begin()

    async def _send_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            ahead = 0
            try:
                ahead = await self._send_groups(batch)
                self._loop.tick()
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # the next batch may well be sent
                self._loop.fail(error)
            finally:
                _give_up(batch)
            if ahead:
                await asyncio.sleep(min(ahead * HOLD_S, LONGEST_HOLD_S))

    async def _send_groups(self, batch: list[Waiting]) -> int:
        """Send all of these; how many messages waited in the queue before the last one."""
        # One run may be in it twice: a job joined it before the job that claimed it was answered.
        futures: dict[RunRef, list[asyncio.Future[None]]] = {}
        for pending, sent in batch:
            futures.setdefault(pending.ref, []).append(sent)
        runs, ahead = {pending.ref: pending for pending, _ in batch}, 0
        for group in groups(runs.values()):
            outcome = await self._send(group)
            if isinstance(outcome, int):
                ahead = max(outcome - 1, 0)
            for sent in (sent for pending in group for sent in futures[pending.ref]):
                if sent.done():  # the request was cancelled; its run goes on
                    continue
                if isinstance(outcome, Unavailable):
                    sent.set_exception(outcome)
                else:
                    sent.set_result(None)
        return ahead

    async def _send(self, group: list[PendingRun]) -> Unavailable | int:
        """How many messages wait in the queue now, this one included; or why it was not sent."""
        refs = [pending.ref for pending in group]
        encoded = envelope.first(new_message(group[0].model, group[0].priority, refs))
        give_up = monotonic() + RETRY_FOR_S
        while True:
            try:
                async with asyncio.timeout_at(give_up):
                    return await self._state.do(enqueue_claimed(encoded, refs))
            except (StorageDown, TimeoutError) as error:
                if monotonic() + PAUSE_S > give_up:
                    log.warning("runs not queued", runs=len(group), reason=str(error))
                    break
            await asyncio.sleep(PAUSE_S)
        return Unavailable("the queue does not answer", hint="Try again in a few seconds.")


def _give_up(waiting: Iterable[Waiting]) -> None:
    """Answer those who still wait that their runs were not queued."""
    for _, sent in waiting:
        if not sent.done():
            sent.set_exception(
                Unavailable("the run could not be queued", hint="Try again in a few seconds.")
            )


def groups(pending: Iterable[PendingRun]) -> Iterator[list[PendingRun]]:
    """Runs of one model and priority, at most MAX_RUNS and MAX_PREPROCESS_MS per group."""
    ordered = sorted(pending, key=_kind)  # a stable sort: older runs stay in front
    for _, same in groupby(ordered, key=_kind):
        group: list[PendingRun] = []
        for run in same:
            cost_ms = sum(other.cost_ms for other in group) + run.cost_ms
            if group and (len(group) == MAX_RUNS or cost_ms > MAX_PREPROCESS_MS):
                yield group
                group = []
            group.append(run)
        yield group


def _kind(pending: PendingRun) -> tuple[Priority, str]:
    return pending.priority, pending.model
