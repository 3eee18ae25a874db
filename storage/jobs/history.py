"""The list of each user's jobs, by the time they were asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

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


def jobs_since(user: str, since_ms: float, most: int) -> Call[JobListing]:
    """This user's newest jobs, at most `most`, that were asked for at `since_ms` or later."""
    return script(
        "jobs/jobs_since",
        lambda answer: JobListing(float(answer[0]), texts(answer[1:])),
        [keys.user_jobs(user)],
        {"since_ms": since_ms, "most": most},
        kinds=ARRAY,
    )


def trim(*, job_ttl_s: int, most: int = bounds.MOST_LOOKED_AT) -> Call[int]:
    """Remove expired jobs from the lists of users.

    Answers how many entries were looked at: `most` or more means that there may be more.
    """
    ttl_ms = job_ttl_s * 1000
    values = {"job_ttl_ms": ttl_ms, "most": most, "pause_ms": min(60_000, ttl_ms)}
    return script("jobs/trim", int, [], values, kinds=NUMBER)
