"""A stage as the run records know it: it begins, sends heartbeats, and ends."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic

from storage.errors import StorageDown
from storage.jobs import backlog, bounds, stages
from storage.jobs.backlog import Taken
from storage.jobs.queueing import EncodedMessage
from storage.jobs.spec import RunRef
from storage.jobs.stages import StageStart
from storage.states import Priority
from tasks import envelope, queues
from tasks.clients import state
from tasks.loops import Periodic
from tasks.message import EXPIRED, MAX_PREPROCESS_MS, MAX_RUNS, Message, version_of
from tasks.settings import settings

RENEW_S = 4.0
"""Leases older than this are renewed before the next run of a message. Together with
`stage_limit_s`, the longest that one run can take, this is shorter than a lease."""


@dataclass(frozen=True)
class Stage:
    """One of the three stages."""

    name: str
    state: str
    """The run's state while the stage works on it."""
    begins: float
    ends: float
    """Progress of the run, 0..1, when the stage begins and when it has ended."""

    def begin(self, message: Message, refs: Sequence[RunRef]) -> list[StageStart]:
        """Record that the stage begins; says per run whether there is something to do."""
        return state().do(
            stages.begin_stage(
                refs,
                stage=self.name,
                state=self.state,
                progress=self.begins,
                queue=queues.stage_queue(self.name, message["model"], version_of(message)),
                priority=message["priority"],
                job_ttl_s=settings().result_ttl_s,
                expired=EXPIRED,
            )
        )

    def take(self, ticket: str, priority: Priority) -> Taken:
        """Take the runs whose turn it is from the backlog: this stage, the first, has begun."""
        return state().do(
            backlog.take(
                ticket,
                priority,
                most=MAX_RUNS,
                most_ms=MAX_PREPROCESS_MS,
                state=self.state,
                progress=self.begins,
                tickets=envelope.tickets(),
                job_ttl_s=settings().result_ttl_s,
                expired=EXPIRED,
            )
        )

    def heartbeat(self, refs: Sequence[RunRef]) -> None:
        """Renew the leases of these runs. A run that was cancelled ends here."""
        state().do(
            stages.heartbeat(
                refs, stage=self.name, job_ttl_s=settings().result_ttl_s, expired=EXPIRED
            )
        )

    def report_progress(self, ref: RunRef, done: int, total: int) -> bool:
        """Record how many slices of a run's volume are done, and renew its lease; False if the run
        is to be left alone, as it was cancelled."""
        progress = self.begins + (self.ends - self.begins) * done / total
        call = stages.report_progress(
            ref,
            stage=self.name,
            state=self.state,
            progress=progress,
            slices=(done, total),
            job_ttl_s=settings().result_ttl_s,
            expired=EXPIRED,
        )
        return state().do(call) > 0

    def end(
        self,
        message: Message,
        refs: Sequence[RunRef],
        following: EncodedMessage | None,
        ticket: str = "",
        version: str = "",
    ) -> None:
        """Record that the stage has ended and, in the same step, queue the next stage's message.

        `ticket`: the id of the one that the runs were taken for. `version`: of the model, that the
        following message is for.
        """
        model = message["model"]
        state().do(
            stages.end_stage(
                refs,
                stage=self.name,
                state=self.state,
                progress=self.ends,
                model=model,
                priority=message["priority"],
                next_queue=queues.stage_queue_after(self.name, model, version),
                next_broker_queue=queues.broker_queue_after(self.name, model, version),
                message=following,
                job_ttl_s=settings().result_ttl_s,
                expired=EXPIRED,
                tickets=envelope.tickets(),
                ticket=ticket,
            )
        )


@contextmanager
def kept_alive(stage: Stage, ref: RunRef) -> Iterator[None]:
    """The run's lease is renewed while the body, which may take longer than that, is at work."""
    loop = Periodic(
        "lease of a volume",
        partial(_heartbeat, stage, ref),
        every_s=RENEW_S,
        max_age_s=bounds.LEASE_MS / 1000,
    )
    loop.start()
    try:
        yield
    finally:
        loop.stop()


def _heartbeat(stage: Stage, ref: RunRef) -> None:
    with suppress(StorageDown):  # the lease lasts for several of them
        stage.heartbeat([ref])


class Leases:
    """Keeps the leases of a message's runs alive while they are worked on one after the other."""

    def __init__(self, renew: Callable[[], None]) -> None:
        self._renew, self._renewed_at = renew, monotonic()

    def renew(self) -> None:
        """Renew the leases unless that was done less than RENEW_S ago."""
        if monotonic() - self._renewed_at > RENEW_S:
            self._renew()
            self._renewed_at = monotonic()
