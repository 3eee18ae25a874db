"""Runs under way: which they are, which of them are lost, and how they go back into the queue."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from storage import keys
from storage.jobs import bounds
from storage.jobs.endings import _with_names
from storage.jobs.spec import RunRef, Spec
from storage.redis.answers import text, texts
from storage.redis.calls import ARRAY, Call, Word, script

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
        next_after, *words = texts(answer)
        pairs = zip(words[::2], map(int, words[1::2]), strict=True)
        return Page([RunRef(*pair) for pair in pairs], next_after)

    asked = json.dumps({"run": keys.run(""), "after": after, "most": most})
    return script("jobs/under_way", parse, [keys.ACTIVE], [asked], kinds=ARRAY)


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

    asked = {
        "lock_ms": every_ms,
        "lease_ms": bounds.LEASE_MS,
        "grace_ms": grace_ms,
        "run": keys.run(""),
        "positions": keys.POSITIONS_PREFIX,
        "broker": keys.BROKER_PREFIX,
        "after": after,
        "most": most,
    }
    names = [keys.ACTIVE, keys.RECONCILER]
    return script("jobs/find_lost", parse, names, [json.dumps(asked)], kinds=ARRAY)


def requeue(
    refs: Sequence[RunRef],
    specs: Sequence[Spec | None] = (),
    *,
    job_ttl_s: int,
    restart: bool = False,
) -> Call[list[int]]:
    """Give at most bounds.MOST_REQUEUED runs a new attempt, as if just claimed; the caller enqueues
    them.

    Answers the new attempt of each; 0 if the run is stale, or cancelled: it ends here.

    A run that gets a spec computes that from now on, and its result is no longer that of its key.
    With `restart` no worker has died: the stages the run went through count as never started.
    """
    runs = [
        {"key": ref.key, "n": ref.attempt, "spec": spec.to_json() if spec else ""}
        for ref, spec in zip(refs, specs or [None] * len(refs), strict=True)
    ]
    asked = _with_names(job_ttl_s, lease_ms=bounds.LEASE_MS, runs=runs, restart=restart)

    def parse(answers: Sequence[Any]) -> list[int]:
        return [int(attempt) for attempt in answers]

    return script("jobs/requeue", parse, [], [asked], kinds=ARRAY)


def release(refs: Sequence[RunRef], *, most: int = bounds.MAX_RELEASES) -> Call[list[bool]]:
    """Release runs to another worker, which gets them after GRACE_MS.

    False for each that is stale or was released `most` times before.
    """
    names = [name for ref in refs for name in (keys.run(ref.key), keys.run_events(ref.key))]
    args: list[Word] = [bounds.LEASE_MS, most, *(ref.attempt for ref in refs)]

    def parse(answers: Sequence[Any]) -> list[bool]:
        return [bool(answer) for answer in answers]

    return script("jobs/release", parse, names, args, kinds=ARRAY)
