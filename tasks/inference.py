"""Stage 2, queue `gpu.<model>`: array -> array on the device. Never decodes."""

from collections.abc import Callable
from concurrent.futures import TimeoutError
from typing import Any

from celery import Task

from tasks.app import app, gpu_queue, run_chain
from tasks.batcher import Batcher
from tasks.errors import ModelFailure, Unavailable
from tasks.message import Message, message
from tasks.resources import scratch
from tasks.stage import MOVED, Moved, Outcome, Stage, Work, run_stage

DEADLINE_S = 300
"""A device that has not answered for so long is taken for dead."""

STAGE = Stage("inference", "inferring", 0.3, 0.8, gpu_queue, lambda model: "cpu")

_batcher: Batcher | None = None


def serve(batcher: Batcher) -> None:
    """Give this process its device; called once, before the worker takes work."""
    global _batcher
    _batcher = batcher


@app.task(name="inference", bind=True)
def inference(self: "Task[Any, Any]", carried: Message) -> Message:
    """Run the model on each run's prepared array; runs of a message share batches."""
    return run_stage(self, STAGE, carried, lambda work: infer(work, carried))


def infer(work: Work, carried: Message) -> Callable[[], Outcome]:
    """Hand one run's array to the device; the answer waits for its output."""
    if _batcher is None:
        raise Unavailable("this worker has no device", hint="Start it by `pixelmill worker gpu`.")
    try:
        array = scratch().get(work.scratch("input"))
    except FileNotFoundError:
        return lambda: _again(work, carried)
    future = _batcher.submit((work.spec.model, array.shape, str(array.dtype)), array)

    def wait() -> None:
        try:
            scratch().put(work.scratch("output"), future.result(DEADLINE_S))
        except TimeoutError as error:
            future.cancel()
            raise ModelFailure(f"the device gave no answer in {DEADLINE_S} s") from error

    return wait


def _again(work: Work, carried: Message) -> Moved:
    """The array is gone (a restart, another host): begin anew; the delivery count bounds it."""
    run_chain(message(carried["model"], carried["lane"], [work.ref])).apply_async()
    return MOVED
