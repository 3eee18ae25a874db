"""The words for where a run is, which records, scripts, messages and metrics share."""

from typing import Literal

Priority = Literal["interactive", "batch"]
PRIORITIES: tuple[Priority, ...] = ("interactive", "batch")
STAGES = ("preprocess", "inference", "postprocess")
STAGE_STATES = ("preprocessing", "inferring", "postprocessing")
"""The state of a run that is in the stage of the same place in STAGES."""
CPU_STAGES = ("preprocess", "postprocess")
"""The stages that cpu workers do."""
TIMED_STAGES = ("queued", *STAGES)
"""What the time of a run is counted by."""
END_STATES = ("done", "failed", "cancelled")
ENDED = frozenset(END_STATES)
BUCKETS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000)
"""Upper bounds of the histograms of stage times; what takes longer is in `inf`."""
JOB_BUCKETS_MS = (100, 250, 500, 1000, 1500, 2000, 3000, 5000, 10_000, 30_000, 60_000, 120_000,
                  600_000, 3_600_000)  # fmt: skip
"""The same of the time from a run's claim to its end: limits that people promise are among them."""
