"""What travels in the queue: the ids of some runs of one model and priority. Never pixels or names.

A message without runs is a *ticket*: the cpu worker that gets it takes runs from the backlog.

Every version of Pixelmill reads `v` and `runs`, so that a worker can release runs that a newer
version has queued.
"""

import json
from collections.abc import Sequence
from typing import NotRequired, TypedDict

from storage.jobs.spec import VERSION, RunRef
from storage.states import Priority
from tasks.errors import JobError, Unavailable

MAX_RUNS = 16
"""Runs of one message."""
MAX_PREPROCESS_MS = 20.0
"""A message holds up its runs until the last of them is preprocessed, so only cheap runs share one.
"""
PROBE = "probe@"
"""Prefix of a probe's model: `probe@matting` goes through the queue and the device of `matting`,
and computes nothing there."""


class Message(TypedDict):
    """The argument of every stage."""

    v: int
    model: str
    priority: Priority
    runs: list[tuple[str, int]]
    """(request key, number of the attempt) of each run."""
    version: NotRequired[str]
    """Of inference: which version of the model its runs need."""


class ErrorRecord(TypedDict):
    """The `error` object of the API and of a run's record."""

    code: str
    message: str
    hint: str | None
    status: int


def new_message(
    model: str, priority: Priority, refs: Sequence[RunRef], version: str = ""
) -> Message:
    """The message that carries these runs."""
    message: Message = {
        "v": VERSION,
        "model": model,
        "priority": priority,
        "runs": [(ref.key, ref.attempt) for ref in refs],
    }
    if version:
        message["version"] = version
    return message


def version_of(message: Message) -> str:
    """Which version of the model its runs need; empty where that is not known."""
    return message.get("version", "")


def is_ticket(message: Message) -> bool:
    """Whether it names no runs: whoever gets it takes those whose turn it is then."""
    return not message["runs"]


def run_refs(message: Message) -> list[RunRef]:
    """The runs of a message of any version."""
    return [RunRef(key, n) for key, n in message["runs"]]


def is_newer(message: Message) -> bool:
    """Whether a newer Pixelmill than this one sent it."""
    return message["v"] > VERSION


def error_record(error: JobError) -> ErrorRecord:
    """The `error` object for a JobError."""
    return {"code": error.code, "message": str(error), "hint": error.hint, "status": error.status}


EXPIRED = json.dumps(
    error_record(
        Unavailable(
            "the job was not finished before its deadline",
            code="expired",
            hint="Try again when fewer jobs are waiting, or allow more time with `deadline_s`.",
        )
    )
)
"""The error of a run whose deadline has passed."""
