"""A worker reports on the runs of its message: a stage begins, goes on, or has ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage import keys
from storage.jobs import bounds
from storage.jobs.endings import ending
from storage.jobs.queueing import NO_TICKETS, EncodedMessage, Tickets, of_tickets
from storage.jobs.spec import RunRef
from storage.redis.answers import ints, text
from storage.redis.calls import ARRAY, NUMBER, Call, script


@dataclass(frozen=True)
class StageStart:
    """What a run answers to a stage that would begin."""

    starts: int
    """How often this stage has begun; not above 0: the stage must leave the run alone."""
    spec: str
    """JSON; empty if the stage must leave the run alone."""
    restarts: int = 0
    """How often the run has started again because an array was gone."""
    worked_ms: int = 0
    """How long its earlier stages took."""

    @property
    def is_live(self) -> bool:
        """Whether the stage may work on the run."""
        return self.starts > 0

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended, so that its arrays can be removed."""
        return self.starts < 0


def begin_stage(
    refs: Sequence[RunRef],
    *,
    stage: str,
    state: str,
    progress: float,
    queue: str,
    priority: str,
    job_ttl_s: int,
    expired: str,
) -> Call[list[StageStart]]:
    """A stage begins for these runs; renews their leases.

    `queue`: the queue they waited in. `expired`: the error, as JSON, of a run whose deadline is
    over.
    """
    values = {
        "runs": refs,
        "stage": stage,
        "state": state,
        "progress": progress,
        "lease_ms": bounds.LEASE_MS,
        "expired": expired.encode(),
        **ending(job_ttl_s),
    }
    names = [keys.positions(queue, priority)]
    return script("jobs/begin_stage", starts, names, values, kinds=ARRAY)


def heartbeat(
    refs: Sequence[RunRef], *, stage: str, job_ttl_s: int, expired: str
) -> Call[list[int]]:
    """The stage is still at work on these runs; renews their leases.

    Answers per run 1, or not above 0: the stage must leave the run alone.
    """
    values = {
        "runs": refs,
        "stage": stage,
        "lease_ms": bounds.LEASE_MS,
        "expired": expired.encode(),
        **ending(job_ttl_s),
    }
    return script("jobs/heartbeat", ints, [], values, kinds=ARRAY)


def report_progress(
    ref: RunRef,
    *,
    stage: str,
    state: str,
    progress: float,
    slices: tuple[int, int],
    job_ttl_s: int,
    expired: str,
) -> Call[int]:
    """The stage has come further with this run; renews its lease and tells those who wait.

    `progress`: of the whole run, 0..1. `slices`: how many of how many are done. Answers as
    heartbeat does for one run.
    """
    values = {
        "ref": ref,
        "stage": stage,
        "state": state,
        "progress": round(progress, 4),
        "slices": f"{slices[0]}/{slices[1]}",
        "lease_ms": bounds.LEASE_MS,
        "expired": expired.encode(),
        **ending(job_ttl_s),
    }
    return script("jobs/progress", int, [], values, kinds=NUMBER)


def end_stage(
    refs: Sequence[RunRef],
    *,
    stage: str,
    state: str,
    progress: float,
    model: str,
    priority: str,
    next_queue: str,
    next_broker_queue: str,
    message: EncodedMessage | None,
    job_ttl_s: int,
    expired: str,
    tickets: Tickets = NO_TICKETS,
    ticket: str = "",
) -> Call[list[int]]:
    """A stage has ended for these runs; renews their leases. Answers as heartbeat does.

    Queues the message for the next stage in the same step, unless all runs are stale: no crash can
    come between. `next_queue` and `next_broker_queue` are empty after the last stage. `ticket`: the
    id of the one that the runs were taken for. `tickets`: the end of inference calls for more runs.
    """
    values = {
        "runs": refs,
        "stage": stage,
        "model": model,
        "state": state,
        "progress": progress,
        "next_queue": next_queue,
        "next_broker_queue": next_broker_queue,
        "message": message.text if message else b"",
        "ticket": ticket,
        "lease_ms": bounds.LEASE_MS,
        "expired": expired.encode(),
        **(of_tickets(tickets) if stage == "inference" else {}),
        **ending(job_ttl_s),
    }
    next_names = [keys.positions(next_queue, priority)] if next_queue else []
    names = [message.queue if message else "", *next_names]
    return script("jobs/end_stage", ints, names, values, kinds=ARRAY)


def forget_start(refs: Sequence[RunRef], stage: str, *, ticket: str = "") -> Call[int]:
    """Do not count the last start of this stage: a worker that stops puts the runs back.

    Of a ticket, which names no runs, those that it was taken for. Answers how many they are.
    """
    values = {"runs": refs, "stage": stage, "ticket": ticket}
    return script("jobs/forget_start", int, [], values, kinds=NUMBER)


def starts(answers: Sequence[Any]) -> list[StageStart]:
    """What a script says of the runs whose stage begins."""
    return [StageStart(int(n), text(spec), *map(int, more)) for n, spec, *more in answers]
