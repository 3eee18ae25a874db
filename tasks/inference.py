"""Stage 2, queue `gpu.<model>`: array -> array on the device. Never decodes."""

from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from time import monotonic
from typing import Any, Protocol

from celery import Task

from tasks.app import app
from tasks.cancellation import unwanted
from tasks.clients import scratch
from tasks.errors import Expired, ModelFailure, Unavailable
from tasks.message import Message, refs
from tasks.models import registry
from tasks.models.base import Inferred
from tasks.runner import REQUEUED, Outcome, Stage, Work, run_stage

DEADLINE_S = 300
"""A device that has not answered for so long is taken for dead."""
RENEW_S = 10

STAGE = Stage("inference", "inferring", 0.3, 0.8)


class Batcher(Protocol):
    """What runs arrays on a device in batches: workers/gpu/batcher.py."""

    def submit(self, bin: Hashable, item: Any, deadline: float) -> "Future[Inferred]":
        """Hand in one array; its future ends with the output, or with Expired at the deadline."""


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
    array = work.array("input")
    bin, deadline = (_variant(work), array.shape, str(array.dtype)), monotonic() + DEADLINE_S
    future = _batcher.submit(bin, array, deadline)
    unwanted().watch(work.ref, future)

    def wait() -> Outcome:
        try:
            inferred = _patiently(future, carried, deadline)
        except CancelledError:
            STAGE.heartbeat([work.ref])  # confirms: the run ends there
            return REQUEUED
        name = "degraded" if inferred.is_degraded else "output"
        scratch().put(work.scratch(name), inferred.array)
        return None

    return wait


def _variant(work: Work) -> str:
    """What the device knows the run's model as: `matting`, `matting:quality`."""
    profile = getattr(work.params, "profile", "") if work.model.profiles else ""
    return registry.variant_name(work.spec.model, work.model, profile)


def _patiently(future: "Future[Inferred]", carried: Message, deadline: float) -> Inferred:
    """The future's answer; the message's leases are renewed while it waits for the device."""
    while monotonic() < deadline:
        try:
            return future.result(RENEW_S)
        except TimeoutError:
            if future.done():  # the model's own TimeoutError
                raise
            STAGE.heartbeat(refs(carried))
        except Expired:
            break
    future.cancel()
    raise ModelFailure(
        f"the device gave no answer in {DEADLINE_S} s",
        code="timeout",
        hint="Try again when less is waiting.",
    )
