"""Runs under way: which they are, which of them are lost, and how they go back into the queue."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from storage.jobs import bounds
from storage.jobs.endings import ending
from storage.jobs.queueing import NO_TICKETS, Tickets, of_tickets
from storage.jobs.spec import RunRef, Spec
from storage.redis.answers import ints, text
from storage.redis.calls import ARRAY, Call, script

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some of the runs under way, as one script looks at them."""

    items: Sequence[T]
    after: str
    """Where the next page begins; empty after the last one."""


@dataclass(frozen=True)
class Lost:
    """A run whose message or worker is gone."""

    ref: RunRef
    model: str
    priority: str
    spec: str


def under_way(after: str = "", most: int = bounds.MOST_LOOKED_AT) -> Call[Page[RunRef]]:
    """The runs that have not ended, a page at a time."""

    def parse(answer: Sequence[Any]) -> Page[RunRef]:
        next_after, *runs = answer
        refs = [RunRef(text(key), int(attempt)) for key, attempt in runs]
        return Page(refs, text(next_after))

    values = {"after": after, "most": most}
    return script("jobs/under_way", parse, [], values, kinds=ARRAY)


def find_lost(
    *,
    every_ms: int,
    grace_ms: int = bounds.GRACE_MS,
    after: str = "",
    most: int = bounds.MOST_LOOKED_AT,
) -> Call[Page[Lost]]:
    """Runs that look lost and have done so for `grace_ms`, a page of runs at a time.

    An empty last page if another process has looked within `every_ms`.
    """

    def parse(answer: Sequence[Any]) -> Page[Lost]:
        lost = [
            Lost(RunRef(text(key), int(attempt)), text(model), text(priority), text(spec))
            for key, attempt, model, priority, spec in answer[1:]
        ]
        return Page(lost, text(answer[0]))

    values = {
        "lock_ms": every_ms,
        "lease_ms": bounds.LEASE_MS,
        "grace_ms": grace_ms,
        "after": after,
        "most": most,
    }
    return script("jobs/find_lost", parse, [], values, kinds=ARRAY)


def requeue(
    refs: Sequence[RunRef],
    specs: Sequence[Spec | None] = (),
    *,
    job_ttl_s: int,
    tickets: Tickets = NO_TICKETS,
    restart: bool = False,
) -> Call[list[int]]:
    """Give at most bounds.MOST_REQUEUED runs a new attempt and put them into the backlog.

    Answers the new attempt of each; 0 if the run is stale, or cancelled: it ends here.

    A run that gets a spec computes that from now on, and its result is no longer that of its key.
    With `restart` no worker has died: the stages the run went through count as never started. Else
    the run is taken alone from now on.
    """
    runs = [
        _to_requeue(ref, spec) for ref, spec in zip(refs, specs or [None] * len(refs), strict=True)
    ]
    values = {
        "runs": runs,
        "lease_ms": bounds.LEASE_MS,
        "restart": restart,
        **of_tickets(tickets),
        **ending(job_ttl_s),
    }
    return script("jobs/requeue", ints, [], values, kinds=ARRAY)


def release(refs: Sequence[RunRef], *, most: int = bounds.MAX_RELEASES) -> Call[list[bool]]:
    """Release runs to another worker, which gets them after FIRST_GRACE_MS, and each time that a
    run is released again after twice as long, up to GRACE_MS.

    False for each that is stale or was released `most` times before.
    """
    values = {
        "runs": refs,
        "lease_ms": bounds.LEASE_MS,
        "grace_ms": bounds.GRACE_MS,
        "first_ms": bounds.FIRST_GRACE_MS,
        "most": most,
    }

    def parse(answers: Sequence[Any]) -> list[bool]:
        return [bool(answer) for answer in answers]

    return script("jobs/release", parse, [], values, kinds=ARRAY)


def _to_requeue(ref: RunRef, spec: Spec | None) -> dict[str, Any]:
    of_run = {"key": ref.key, "attempt": ref.attempt}
    if spec is None:
        return of_run
    names = ("request_key", "weights", "model_version", "upload")
    of_spec = {name: getattr(spec, name) for name in names}
    return {**of_run, **of_spec, "spec": spec.to_json().decode()}
