"""The backlog: runs that are ready, which cpu workers take in fair order when it is their turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage import backlog_keys
from storage.jobs import bounds
from storage.jobs.endings import ending
from storage.jobs.queueing import NO_TICKETS, Tickets, of_tickets
from storage.jobs.spec import RunRef
from storage.jobs.stages import StageStart, starts
from storage.redis.answers import text
from storage.redis.calls import ARRAY, NUMBER, Call, command, script


@dataclass(frozen=True)
class Taken:
    """The runs of one model that a worker has taken: their first stage begins."""

    model: str
    """Empty where there was nothing to take."""
    runs: Mapping[RunRef, StageStart]


def enqueue_claimed(
    ref: RunRef, preprocess_ms: float = 0, tickets: Tickets = NO_TICKETS
) -> Call[bool]:
    """Put a run that was claimed into the backlog, as its bytes are stored by now.

    `preprocess_ms`: how long its first stage takes, about. Answers False for a run that is stale,
    or that is in the backlog already. Until it is there, a run belongs to the process of the job
    that started it, for as long as the lease lasts.
    """
    values = {"key": ref.key, "attempt": ref.attempt, "preprocess_ms": preprocess_ms}
    return script("jobs/enqueue_claimed", bool, [], values | of_tickets(tickets), kinds=NUMBER)


def take(
    ticket: str,
    priority: str,
    *,
    most: int,
    most_ms: float,
    state: str,
    progress: float,
    tickets: Tickets,
    job_ttl_s: int,
    expired: str,
) -> Call[Taken]:
    """Take the runs whose turn it is from the backlog, and begin their first stage.

    At most `most` of one model, whose first stages take at most `most_ms` together; a longer one is
    taken alone. The rest is as for stages.begin_stage.
    """
    values = {
        "ticket": ticket,
        "priority": priority,
        "most": most,
        "most_ms": most_ms,
        "ticket_ttl_ms": bounds.TICKET_TTL_MS,
        "stage": "preprocess",
        "state": state,
        "progress": progress,
        "lease_ms": bounds.LEASE_MS,
        "expired": expired.encode(),
        **of_tickets(tickets),
        **ending(job_ttl_s),
    }
    return script("jobs/take", _taken, [], values, kinds=ARRAY)


def call_workers(tickets: Tickets, done_with: str = "") -> Call[int]:
    """Queue tickets where runs may be taken and few tickets wait; answers how many.

    `done_with`: the id of a ticket whose runs have ended.
    """
    values = {"ticket": done_with, **of_tickets(tickets)}
    return script("jobs/call_workers", int, [], values, kinds=NUMBER)


def set_credits(
    tickets: int, runs: Mapping[str, int], at_a_time: Mapping[str, int] | None = None
) -> Call[int]:
    """How many tickets may wait in a priority, and how many runs of each model may be between the
    backlog and the end of inference: `runs` keep its devices busy, `at_a_time` is a limit that
    somebody has set, 0 for none."""
    fields = {"tickets": tickets} | {f"runs:{model}": most for model, most in runs.items()}
    fields |= {f"at_a_time:{model}": most for model, most in (at_a_time or {}).items()}
    words = [word for field in fields.items() for word in field]
    return command(int, "HSET", backlog_keys.CREDITS, *words, kinds=NUMBER)


def _taken(answer: Sequence[Any]) -> Taken:
    model, *runs = answer
    refs = [RunRef(text(key), int(attempt)) for key, attempt, *_ in runs]
    begun = starts([begin for _, _, *begin in runs])
    return Taken(text(model), dict(zip(refs, begun, strict=True)))
