"""The three stages, the queues that they wait in, and who is served first.

A stage is counted under the name of its own queue (`stage_queue`), by which positions and waiting
times are estimated. Preprocess and postprocess share one broker queue, `cpu`, which every cpu
worker consumes; so their stage queues differ (`cpu`, `post`) where their broker queue does not.
"""

from storage.states import STAGES, Priority
from tasks.message import PROBE

CELERY_PRIORITY: dict[tuple[str, Priority], int] = {
    ("postprocess", "interactive"): 0,
    ("preprocess", "interactive"): 3,
    ("postprocess", "batch"): 6,
    ("preprocess", "batch"): 9,
    ("inference", "interactive"): 0,
    ("inference", "batch"): 9,
}
"""0 is served first: a run that is nearly done leaves before a new one starts, and interactive
work goes before batches."""


def gpu_queue(model: str, version: str = "") -> str:
    """The queue from which workers that serve `model` take inference; that of a version of it is
    for those alone that serve this version."""
    name = f"gpu.{model.removeprefix(PROBE)}"
    return f"{name}@{version}" if version else name


def broker_queue(stage: str, model: str, version: str = "") -> str:
    """The broker queue that a stage's messages wait in."""
    return gpu_queue(model, version) if stage == "inference" else "cpu"


def broker_queue_after(stage: str, model: str, version: str = "") -> str:
    """The broker queue of the stage that follows; empty after the last one."""
    following = stage_after(stage)
    return broker_queue(following, model, version) if following else ""


def stage_queue(stage: str, model: str, version: str = "") -> str:
    """The name under which the runs that wait for this stage are counted."""
    return "post" if stage == "postprocess" else broker_queue(stage, model, version)


def stage_queue_after(stage: str, model: str, version: str = "") -> str:
    """The same of the stage that follows; empty after the last one."""
    following = stage_after(stage)
    return stage_queue(following, model, version) if following else ""


def stage_after(stage: str) -> str:
    """The stage that follows; empty after the last one."""
    return (*STAGES, "")[STAGES.index(stage) + 1]
