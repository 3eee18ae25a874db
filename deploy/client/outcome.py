"""What becomes of a photo."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deploy.client.answers import Failure, Job
from deploy.client.photos import Photo
from tasks.errors import JobError

Status = Literal["done", "there", "planned", "failed", "not_accepted", "cancelled"]
"""`there`: an earlier run has written the same. `planned`: it would be sent (--dry-run).
`not_accepted`: it was found in a folder, and this server takes no photos of its format."""

SAME_FOR_ALL = frozenset({"bad_params", "bad_output", "bad_background", "no_model", "no_upload"})
"""Codes of refusals that every other photo would get as well."""
PARAMETERS_HINT = "`pixelmill models --json` describes each parameter."
"""In place of the server's hint, which names an address of the API."""


@dataclass(frozen=True)
class Outcome:
    """What became of one photo."""

    photo: Photo
    status: Status
    sha256: str = ""
    """Of the photo; empty if it was not read."""
    job: Job | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    """Name of the picture, or `json` -> where it was written."""
    bytes: int = 0
    """Size of what was written, or of what would be sent."""
    seconds: float = 0
    error: Failure | None = None
    """Why it failed."""


def failure(error: Exception) -> Failure:
    """An error as the API would say it."""
    if isinstance(error, JobError):
        return {"code": error.code, "message": str(error), "hint": error.hint}
    message = str(error)
    if isinstance(error, OSError) and error.strerror:  # without its number
        message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return {"code": "error", "message": message or type(error).__name__, "hint": None}


def is_same_for_all(error: Failure | None) -> bool:
    """Whether every other photo would be refused in the same way."""
    return error is not None and error.get("code") in SAME_FOR_ALL


def sentence(error: Failure) -> str:
    """An error on one line, with what to do about it."""
    hint = PARAMETERS_HINT if error.get("code") == "bad_params" else error.get("hint")
    return f"{error['message']} ({hint})" if hint else error["message"]
