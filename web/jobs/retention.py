"""How long what belongs to a user is kept, as users are told."""

from typing import TypedDict

from tasks.settings import settings

SIGNED_S = 86_400
"""Results live this much longer than they are cached: a signed address may still be in use."""


class Retention(TypedDict):
    """me_schemas.Kept."""

    uploads_s: int
    results_s: int
    jobs_s: int


def retention() -> Retention:
    """What `GET /me` and the page say."""
    return {
        "uploads_s": upload_life_s(),
        "results_s": result_life_s(),
        "jobs_s": settings().job_ttl_s,
    }


def upload_life_s() -> int:
    """After so many seconds an upload is removed from S3, unless a job still waits for it."""
    return settings().upload_ttl_s


def result_life_s() -> int:
    """After so many seconds a result is removed from S3."""
    # A job that is answered by a result on its last day refers to it as long as a job lives.
    return settings().result_ttl_s + max(settings().job_ttl_s, SIGNED_S)
