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


def kept_sentence() -> str:
    """The same for people."""
    kept = retention()
    return (
        f"Photos that you send are removed after {_duration(kept['uploads_s'])}, results after "
        f"{_duration(kept['results_s'])}."
    )


def kept_volumes_sentence() -> str:
    """The same of volumes, which are sent for one run only."""
    kept = retention()
    uploads, results = _duration(kept["uploads_s"]), _duration(kept["results_s"])
    if settings().keep_volumes:
        return f"Volumes that you send are removed after {uploads}, results after {results}."
    return f"Volumes that you send are removed when their run has ended, results after {results}."


def upload_life_s() -> int:
    """After so many seconds an upload is removed from S3, unless a job still waits for it."""
    return settings().upload_ttl_s


def result_life_s() -> int:
    """After so many seconds a result is removed, and the jobs that it has answered."""
    return settings().result_ttl_s


def _duration(seconds: int) -> str:
    """In words, such as `24 hours` or `7 days`."""
    for name, length_s in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length_s:
            return f"{round(seconds / length_s)} {name}"
    return f"{seconds} seconds"
