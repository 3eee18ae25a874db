"""How long what belongs to a user is kept, as users are told."""

from typing import TypedDict

from tasks.settings import settings


class Retention(TypedDict):
    """me_schemas.Kept."""

    uploads_s: int
    results_s: int


def retention() -> Retention:
    """What `GET /me` and the page say."""
    return {
        "uploads_s": upload_life_s(),
        "results_s": result_life_s(),
    }


def upload_life_s() -> int:
    """After so many seconds an upload is removed from S3, unless a job still waits for it."""
    return settings().upload_ttl_s


def result_life_s() -> int:
    """After so many seconds a result is removed, and the jobs that it has answered."""
    return settings().result_ttl_s
