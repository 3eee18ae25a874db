"""Ends runs and jobs: done, failed, cancelled, expired, deleted."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from storage import keys
from storage.jobs import bounds
from storage.jobs.spec import RunRef
from storage.redis.answers import maybe_text, text, texts
from storage.redis.calls import (
    ARRAY,
    MAYBE_ARRAY,
    MAYBE_TEXT,
    NUMBER,
    Call,
    Word,
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
    args: list[Word] = [ending(job_ttl_s)]
    for end in ends:
        args += [end.ref.key, end.ref.attempt, end.state, end.payload, int(end.lasting)]

    def parse(answers: Sequence[Any]) -> list[int]:
        return [int(answer) for answer in answers]

    return script("jobs/finish", parse, [], args, kinds=ARRAY)


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
    args = [ending(job_ttl_s), job_id, user]
    return script("jobs/cancel", maybe_text, [], args, kinds=MAYBE_TEXT)


def expire(error: str, *, job_ttl_s: int, most: int = bounds.MOST_EXPIRED) -> Call[int]:
    """End jobs whose deadline is over, with this error JSON, or that nobody keeps alive.

    Answers how many there were: `most` means that there may be more.
    """
    asked = _with_names(job_ttl_s, error=error, most=most)
    return script("jobs/expire", int, [], [asked], kinds=NUMBER)


def delete(job_id: str, user: str, *, job_ttl_s: int) -> Call[Deleted | None]:
    """Cancel a job if it is under way, and forget it; None if this user has no such job."""

    def parse(answer: Any) -> Deleted | None:
        if answer is None:
            return None
        request_key, is_free, uploads = answer
        return Deleted(text(request_key), text(is_free) == "1", texts(uploads))

    asked = _with_names(job_ttl_s, job=job_id, user=user, upload=keys.upload(user, ""))
    return script("jobs/delete", parse, [], [asked], kinds=MAYBE_ARRAY)


def _with_names(job_ttl_s: int, **asked: Any) -> str:
    """The one argument of a script that ends runs, as JSON."""
    return f'{{"names":{ending(job_ttl_s)},{json.dumps(asked)[1:]}'


@cache
def ending(job_ttl_s: int) -> str:
    """What scripts that end runs need to know, as JSON: see shared_lua/ending.lua."""
    return json.dumps(
        {
            "active": keys.ACTIVE,
            "deadlines": keys.DEADLINES,
            "interests": keys.INTERESTS,
            "job": keys.JOB_PREFIX,
            "job_ttl": job_ttl_s * 1000,
            "positions": keys.POSITIONS_PREFIX,
            "pace": keys.PACE_PREFIX,
            "result_jobs": keys.RESULT_JOBS_PREFIX,
            "run": keys.run(""),
            "run_events": keys.run_events(""),
            "run_jobs": keys.run_jobs(""),
            "run_ttl": bounds.RUN_TTL_MS,
            "stat": keys.STAT_PREFIX,
            "stat_ttl": bounds.METRICS_TTL_MS,
            "unwanted": keys.UNWANTED,
            "upload_jobs": keys.UPLOAD_JOBS_PREFIX,
            "upload_of": keys.UPLOAD_OF_PREFIX,
            "user_jobs": keys.user_jobs(""),
            "user_runs": keys.USER_RUNS_PREFIX,
            "waiting": keys.WAITING_PREFIX,
        }
    )
