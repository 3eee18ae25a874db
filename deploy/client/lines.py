"""What `pixelmill run --json` prints: one JSON object per line, for programs.

Fields are added in later versions, and never removed or renamed; docs/cli.md describes them.
"""

import json
import time
from collections.abc import Sequence

from deploy.client.destination import Destination
from deploy.client.folders import LeftOut
from deploy.client.outcome import Outcome
from deploy.client.totals import Totals


class Lines:
    """Prints what becomes of each photo as soon as it is known, and the figures at last."""

    def __init__(self, destination: Destination, model: str) -> None:
        self._destination, self._model = destination, model
        self._began = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """Print the line of a photo."""
        if outcome.status == "not_accepted" and outcome.photo.file and outcome.error:
            message = outcome.error["message"]
            _print_left_out(LeftOut(outcome.photo.file, "not_accepted", message))
            return
        job = outcome.job
        result = job["result"] if job and job["state"] == "done" else None
        _print(
            {
                "type": "photo",
                "photo": outcome.photo.name,
                "status": outcome.status,
                "model": self._model,
                "sha256": outcome.sha256 or None,
                "job": job["id"] if job else None,
                "cached": bool(job and job["cached"]),
                "degraded": bool(job and job["degraded"]),
                "width": result["width"] if result else None,
                "height": result["height"] if result else None,
                "data": result["data"] if result else None,
                "notes": (result.get("notes") or []) if result else [],
                "files": {name: str(file) for name, file in outcome.files.items()},
                "target": str(self._target(outcome)),
                "bytes": outcome.bytes,
                "seconds": round(outcome.seconds, 3),
                "error": outcome.error,
            }
        )

    def end(self, totals: Totals, left_out: Sequence[LeftOut]) -> None:
        """Print the lines of files that were left out, and the last line."""
        for item in left_out:
            _print_left_out(item)
        _print(
            {
                "type": "summary",
                "photos": totals.photos,
                "done": totals.of("done"),
                "cached": totals.cached,
                "there": totals.of("there"),
                "planned": totals.of("planned"),
                "failed": totals.of("failed"),
                "cancelled": totals.of("cancelled"),
                "not_sent": totals.not_sent,
                "left_out": totals.left_out,
                "bytes": totals.bytes,
                "seconds": round(time.monotonic() - self._began, 3),
                "out": str(self._destination),
                "exit_code": totals.exit_code,
            }
        )

    def _target(self, outcome: Outcome) -> object:
        to = self._destination
        return to.folder / outcome.photo.target if to.folder else to


def _print_left_out(item: LeftOut) -> None:
    message = item.message or None
    _print({"type": "left_out", "path": str(item.path), "reason": item.reason, "message": message})


def _print(value: object) -> None:
    print(json.dumps(value), flush=True)
