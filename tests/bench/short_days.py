"""Runs web or a worker of which a day is as short as BENCH_DAY_S says: for tests/bench/days.py.

`python short_days.py web`, or `cpu`, `gpu`. What a setting sets is set by the bench itself; these
are times that the code keeps for itself.
"""

import os
import sys

from storage.jobs import bounds
from web.maintenance import expired_objects
from workers import scratch_cleanup

DAY_S = float(os.environ["BENCH_DAY_S"])


def shorten() -> None:
    """Let everything that is kept for hours or days go in this bench's hours and days."""
    bounds.RUN_TTL_MS = 10_000  # longer than a run takes
    bounds.NEGATIVE_TTL_MS = 2_000
    bounds.METRICS_TTL_MS = int(2_000 * DAY_S)
    bounds.IDEMPOTENCY_MS = int(1_000 * DAY_S)
    expired_objects.EVERY_S, expired_objects.MARGIN_S = 1.0, int(DAY_S)
    scratch_cleanup.MIN_AGE_S = 5.0


def main() -> None:
    """Start the process that the command line names."""
    shorten()
    kind = sys.argv[1]
    if kind == "web":
        from web.__main__ import main as web

        web()
    else:
        from workers.__main__ import main as worker

        worker([kind])


if __name__ == "__main__":
    main()
