"""Stage 2, queue `gpu.<model>`: array -> array on the device. Never decodes."""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from celery import Task

from tasks.app import app
from tasks.batcher import Batcher
from tasks.errors import ModelFailure, Unavailable
from tasks.message import Message
from tasks.resources import scratch
from tasks.stage import Outcome, Stage, Work, begin_anew, run_stage

DEADLINE_S = 300
"""A device that has not answered for so long is taken for dead."""
RENEW_S = 10

STAGE = Stage("inference", "inferring", 0.3, 0.8)

_batcher: Batcher | None = None


def serve(batcher: Batcher) -> None:
    """Give this process its device; called once, before the worker takes work."""
    global _batcher
    _batcher = batcher


@app.task(name="inference", bind=True)
def inference(self: "Task[Any, Any]", carried: Message) -> None:
    """Run the model on each run's prepared array; runs of a message share batches."""
    run_stage(self, STAGE, carried, lambda work: infer(work, carried))


def infer(work: Work, carried: Message) -> Callable[[], Outcome]:
    """Hand one run's array to the device; the answer waits for its output."""
    if _batcher is None:
        raise Unavailable("this worker has no device", hint="Start it by `pixelmill worker gpu`.")
    try:
        array = scratch().get(work.scratch("input"))
    except FileNotFoundError:
        # A restart, another host: the array is gone; the delivery count bounds the repetition.
        return partial(begin_anew, work, carried)
    future = _batcher.submit((work.spec.model, array.shape, str(array.dtype)), array)

    def wait() -> None:
        scratch().put(work.scratch("output"), _patiently(future, work, carried))

    return wait


def _patiently(future: "Future[Any]", work: Work, carried: Message) -> Any:
    """The future's answer; the run's lease is renewed while it waits for the device."""
    for _ in range(DEADLINE_S // RENEW_S):
        try:
            return future.result(RENEW_S)
        except TimeoutError:
            if future.done():  # the model's own TimeoutError
                raise
            STAGE.touch("renew", carried, [work.ref])
    future.cancel()
    raise ModelFailure(f"the device gave no answer in {DEADLINE_S} s")
