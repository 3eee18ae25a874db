"""Puts claimed runs into the backlog once their bytes are stored."""

import asyncio
from dataclasses import dataclass
from time import monotonic

import structlog

from storage.errors import StorageDown
from storage.jobs.backlog import enqueue_claimed
from storage.jobs.spec import RunRef
from storage.redis.calls import AsyncRedis
from tasks import envelope
from tasks.errors import Unavailable

RETRY_FOR_S = 1.4
"""A client waits for the answer: a queue that does not answer for this long is unavailable."""
PAUSE_S = 0.2

log = structlog.get_logger()


@dataclass(frozen=True)
class PendingRun:
    """A claimed run that is not in the backlog yet."""

    ref: RunRef
    preprocess_ms: float
    """Estimated time of its preprocessing."""


class Publisher:
    """Whatever breaks, every waiting request gets an answer: none hangs on this."""

    def __init__(self, state: AsyncRedis) -> None:
        self._state = state
        self._sending: set[asyncio.Task[None]] = set()

    async def publish(self, pending: PendingRun) -> None:
        """Put a run into the backlog. Raises Unavailable when the queue does not accept it.

        If the request is cancelled meanwhile, its run goes on.
        """
        sending = asyncio.create_task(self._send(pending))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        await asyncio.shield(sending)

    async def stop(self) -> None:
        """Wait until everything is sent."""
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _send(self, pending: PendingRun) -> None:
        try:
            await self._enqueue(pending)
        except Unavailable:
            raise
        except BaseException as error:  # whatever it is, the request must be answered
            log.error("run not queued", run=pending.ref.key[:12], exc_info=True)
            raise Unavailable(
                "the run could not be queued", hint="Try again in a few seconds."
            ) from error

    async def _enqueue(self, pending: PendingRun) -> None:
        give_up = monotonic() + RETRY_FOR_S
        while True:
            try:
                async with asyncio.timeout_at(give_up):
                    await self._state.do(
                        enqueue_claimed(pending.ref, pending.preprocess_ms, envelope.tickets())
                    )
                return
            except (StorageDown, TimeoutError) as error:
                if monotonic() + PAUSE_S > give_up:
                    log.warning("run not queued", run=pending.ref.key[:12], reason=str(error))
                    break
            await asyncio.sleep(PAUSE_S)
        raise Unavailable("the queue does not answer", hint="Try again in a few seconds.")
