"""What travels in the queue: ids of runs of one model and priority. Never pixels, never names."""

import json
from collections.abc import Sequence
from typing import Any, Literal, TypedDict

from storage.jobs.spec import VERSION, RunRef
from tasks.errors import Unavailable

Priority = Literal["interactive", "batch"]
MAX_RUNS = 16
PROBE = "probe@"
"""`probe@matting` goes through the queue and the device of matting, and does nothing there."""


class Message(TypedDict):
    """The argument and the answer of every stage."""

    v: int
    model: str
    priority: Priority
    runs: list[tuple[str, int]]
    """(request key, run number) of each run."""


def message(model: str, priority: Priority, refs: Sequence[RunRef]) -> Message:
    """The message that carries these runs."""
    return {
        "v": VERSION,
        "model": model,
        "priority": priority,
        "runs": [(ref.key, ref.attempt) for ref in refs],
    }


def refs(carried: Message) -> list[RunRef]:
    """The runs of a message; every version writes them so, for others to hand them back."""
    return [RunRef(key, n) for key, n in carried["runs"]]


def is_newer(carried: Message) -> bool:
    """Whether a newer Pixelmill than this sent it."""
    return carried["v"] > VERSION


def error_json(error: Any) -> dict[str, Any]:
    """The `error` object of the API, of a tasks.errors.JobError."""
    return {"code": error.code, "message": str(error), "hint": error.hint, "status": error.status}


EXPIRED = json.dumps(
    error_json(
        Unavailable(
            "the job's deadline came before its result",
            code="expired",
            hint="Try again when less is waiting, or allow more by `deadline_s`.",
        )
    )
)
