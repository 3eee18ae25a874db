"""Ends runs and jobs: done, failed, cancelled, expired, deleted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from storage import keys
from storage.jobs import bounds
from storage.jobs.spec import RunRef
from storage.quotas import Use
from storage.redis.answers import ints, maybe_text, text, texts
from storage.redis.calls import (
    ARRAY,
    MAYBE_ARRAY,
    MAYBE_TEXT,
    NUMBER,
    Call,
    command,
    script,
)

ERASE = 2
"""Answer of a run that ends after its only job was deleted: its result must be erased."""
LATER = 3
"""Answer of a run that has not ended, as others with many jobs ended in the same script: finish it
again."""


@dataclass(frozen=True)
class End:
    """How a run ended."""

    ref: RunRef
    state: Literal["done", "failed"]
    payload: str
    """JSON: the result, or the error."""
    lasting: bool = False
    """A failure that the same bytes would meet again: remembered for bounds.NEGATIVE_TTL_MS."""
    degraded: bool = False
    """Whether a fallback model made the result: it is no answer for the next equal request."""
    stored_bytes: int = 0
    """What was stored for this result, and not for an earlier run."""
    made_s: int = 0
    """When the result was made, in seconds since 1970: its jobs are kept as long as it is."""


@dataclass(frozen=True)
class Deleted:
    """What a deleted job leaves to be removed."""

    request_key: str
    """The request key that its result is kept under."""
    has_free_result: bool
    """Whether no other job of the user needs that result."""
    free_uploads: Sequence[str]
    """Ids of the uploads that no other job of the user needs."""


def finish(ends: Sequence[End], *, job_ttl_s: int) -> Call[list[int]]:
    """End these runs and the jobs that wait for them.

    Answers 1 per run, 0 for one whose attempt is stale, ERASE if its result must be erased, LATER
    if it must be finished again.
    """
    values = {"ends": ends, **ending(job_ttl_s)}
    return script("jobs/finish", ints, [], values, kinds=ARRAY)


def give_up(ref: RunRef, error: str, use: Use, *, job_ttl_s: int) -> Call[bool]:
    """End a run that could not be started as failed, with this error JSON, and give back its use.

    `use`: what its claim has counted, with a `stored_ttl_s` of 0 if its bytes are stored
    nevertheless. Answers False for a run that is stale or has ended.
    """
    values = {"ref": ref, "error": error.encode(), **use.arguments(), **ending(job_ttl_s)}
    return script("jobs/give_up", bool, [], values, kinds=NUMBER)


def result_owner(request_key: str) -> Call[tuple[str, str] | None]:
    """The user whose run this is, and the request key that its result is kept under."""

    def parse(answer: Sequence[Any]) -> tuple[str, str] | None:
        user, result_key = map(maybe_text, answer)
        return (user, result_key or request_key) if user else None

    return command(parse, "HMGET", keys.run(request_key), "user", "result_key", kinds=ARRAY)


def cancel(job_id: str, user: str, *, job_ttl_s: int) -> Call[str | None]:
    """Cancel a job; answers the job's state, None if this user has no such job.

    `cancelling`: a worker is at it and has not confirmed yet.
    """
    values = {"job_id": job_id, "user": user, **ending(job_ttl_s)}
    return script("jobs/cancel", maybe_text, [], values, kinds=MAYBE_TEXT)


def expire(error: str, *, job_ttl_s: int, most: int = bounds.MOST_EXPIRED) -> Call[int]:
    """End jobs whose deadline is over, with this error JSON, or that nobody keeps alive.

    Answers how many there were: `most` means that there may be more.
    """
    values = {"error": error.encode(), "most": most, **ending(job_ttl_s)}
    return script("jobs/expire", int, [], values, kinds=NUMBER)


def delete(job_id: str, user: str, *, job_ttl_s: int) -> Call[Deleted | None]:
    """Cancel a job if it is under way, and forget it; None if this user has no such job.

    What is deleted with it counts no longer as stored.
    """

    def parse(answer: Any) -> Deleted | None:
        if answer is None:
            return None
        request_key, is_free, uploads = answer
        return Deleted(text(request_key), bool(is_free), texts(uploads))

    values = {"job_id": job_id, "user": user, **ending(job_ttl_s)}
    return script("jobs/delete", parse, [], values, kinds=MAYBE_ARRAY)


def ending(job_ttl_s: int) -> dict[str, int]:
    """The arguments of every script that ends runs: see shared_lua/ending.lua."""
    return {
        "job_ttl_ms": job_ttl_s * 1000,
        "run_ttl_ms": bounds.RUN_TTL_MS,
        "metrics_ttl_ms": bounds.METRICS_TTL_MS,
    }
