"""The list of each user's jobs, by the time they were asked for."""

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from storage import keys
from storage.jobs import bounds
from storage.redis.answers import texts
from storage.redis.calls import ARRAY, NUMBER, Call, script


@dataclass(frozen=True)
class JobListing:
    """Jobs of a user, newest first."""

    at_ms: float
    """Redis time."""
    job_ids: Sequence[str]


@dataclass(frozen=True)
class Filter:
    """Which jobs of a user are wanted."""

    states: Collection[str] = ()
    """Empty: whatever their state is."""
    models: Collection[str] = ()
    name: str = ""
    """What their name contains, in upper or lower case."""
    since_ms: float = 0
    """Asked for at this time or later."""


@dataclass(frozen=True)
class HistoryPage:
    """Some of a user's jobs, newest first."""

    job_ids: Sequence[str]
    next: str
    """Where the next page begins; empty after the last one."""


def list_jobs(
    user: str,
    wanted: Filter,
    *,
    before: str = "",
    most: int,
    look: int = bounds.MOST_LOOKED_AT,
) -> Call[HistoryPage]:
    """At most `most` of this user's jobs, found among the `look` newest from before `before`.

    `before`: a time in ms, or `next` of an earlier page. A page with `next` may have no jobs.
    """

    def parse(answer: Sequence[Any]) -> HistoryPage:
        next_before, *job_ids = texts(answer)
        return HistoryPage(job_ids, next_before)

    values = {
        "since_ms": wanted.since_ms,
        "before": before,
        "states": dict.fromkeys(wanted.states, 1),
        "models": dict.fromkeys(wanted.models, 1),
        "names": _spellings(wanted.name),
        "most": most,
        "look": look,
    }
    return script("jobs/list_jobs", parse, [keys.user_jobs(user)], values, kinds=ARRAY)


def _spellings(text: str) -> Sequence[str]:
    """What a name may contain instead, as Lua knows upper and lower case of ASCII alone."""
    text = unicodedata.normalize("NFC", text)
    spellings = {text, text.lower(), text.upper(), text.title()} - {""}
    return sorted({spelling.encode().lower().decode() for spelling in spellings})


def jobs_since(user: str, since_ms: float, most: int) -> Call[JobListing]:
    """This user's newest jobs, at most `most`, that were asked for at `since_ms` or later."""
    return script(
        "jobs/jobs_since",
        lambda answer: JobListing(float(answer[0]), texts(answer[1:])),
        [keys.user_jobs(user)],
        {"since_ms": since_ms, "most": most},
        kinds=ARRAY,
    )


def trim(
    *,
    job_ttl_s: int,
    most_jobs: int = 2**31,
    is_full: bool = False,
    least_kept_ms: int = bounds.LEAST_KEPT_MS,
    most: int = bounds.MOST_LOOKED_AT,
) -> Call[int]:
    """Remove expired jobs from the lists of users, and of each the oldest above `most_jobs`.

    `is_full`: the Redis needs room, so the oldest that have ended go. None of these leaves within
    `least_kept_ms` of its end. Answers how many entries were looked at: `most` or more means that
    there may be more.
    """
    ttl_ms = job_ttl_s * 1000
    values = {
        "job_ttl_ms": ttl_ms,
        "most_jobs": most_jobs,
        "is_full": int(is_full),
        "least_kept_ms": least_kept_ms,
        "most": most,
        "pause_ms": min(60_000, ttl_ms),
    }
    return script("jobs/trim", int, [], values, kinds=NUMBER)
