"""The words for where a run is, which records, scripts, messages and metrics share."""

from typing import Literal

Priority = Literal["interactive", "batch"]
PRIORITIES: tuple[Priority, ...] = ("interactive", "batch")
STAGES = ("preprocess", "inference", "postprocess")
STAGE_STATES = ("preprocessing", "inferring", "postprocessing")
"""The state of a run that is in the stage of the same place in STAGES."""
END_STATES = ("done", "failed", "cancelled")
ENDED = frozenset(END_STATES)
