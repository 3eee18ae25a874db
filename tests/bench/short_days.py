"""An installation whose days are as short as BENCH_DAY_S: for tests/bench/days.py and soak.py.

`python short_days.py web`, or `cpu`, `gpu`, starts one process of it. What a setting sets is set by
the bench itself; these are times that the code keeps for itself.
"""

import os
import sys
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent))
from stack import Stack


class ShortDays(Stack):
    """Its workers and its web process keep for short what is kept for hours and days."""

    def start_workers(self) -> None:
        for kind in ("cpu", "gpu"):
            self.start(f"{kind}-worker", [sys.executable, __file__, kind])

    def start_web(self) -> None:
        self.start("web", [sys.executable, __file__, "web"])
        self.wait_for("web", lambda: httpx.get(f"{self.url}/healthz").status_code == 200)


def shorten(day_s: float) -> None:
    """Let everything that is kept for hours or days go in this bench's hours and days."""
    from storage.jobs import bounds
    from web.maintenance import expired_objects
    from workers import scratch_cleanup

    bounds.RUN_TTL_MS = 10_000  # longer than a run takes
    bounds.NEGATIVE_TTL_MS = 2_000
    bounds.METRICS_TTL_MS = int(2_000 * day_s)
    bounds.IDEMPOTENCY_MS = int(1_000 * day_s)
    expired_objects.EVERY_S, expired_objects.MARGIN_S = 1.0, int(day_s)
    scratch_cleanup.MIN_AGE_S = 5.0


def main() -> None:
    """Start the process that the command line names."""
    shorten(float(os.environ["BENCH_DAY_S"]))
    kind = sys.argv[1]
    if kind == "web":
        from web.__main__ import main as web

        web()
    else:
        from workers.__main__ import main as worker

        worker([kind])


if __name__ == "__main__":
    main()
