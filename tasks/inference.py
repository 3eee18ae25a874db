"""Stage 2, queue `gpu.<model>`: array -> array on the device. Decodes nothing."""

from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from celery import Task

from storage.jobs.spec import RunRef, Spec
from tasks.app import app
from tasks.clients import scratch
from tasks.errors import Expired, ModelFailure
from tasks.message import Message, run_refs
from tasks.models import registry
from tasks.models.base import Inferred
from tasks.runner import REQUEUED, Outcome, run_stage
from tasks.stage import Stage
from tasks.work import Work

DEADLINE_S = 300
"""A device that has not answered after this time is taken for dead."""
RENEW_S = 10

STAGE = Stage("inference", "inferring", 0.3, 0.8)


class Batcher(Protocol):
    """What runs arrays on a device in batches: workers/gpu/batcher.py."""

    def submit(self, bin: Hashable, item: Any, deadline: float) -> "Future[Inferred]":
        """Queue one array. Its future ends with the output, or with Expired at the deadline."""


Watch = Callable[[RunRef, "Future[Inferred]"], None]
"""Cancels the future when its run is cancelled: workers/gpu/cancellation.py."""


Check = Callable[[Spec], None]
"""Raises OtherVersion for a run that was asked of weights which this device does not have."""


def register(batcher: Batcher, watch: Watch, check: Check) -> None:
    """Make this process one that does inference; called once, before it consumes messages."""
    device = Device(batcher, watch, check)

    @app.task(name=STAGE.name, bind=True)
    def inference(task: "Task[Any, Any]", message: Message) -> None:
        """Run the model on each run's prepared array; the runs of a message share batches."""
        run_stage(task, STAGE, message, lambda work: device.infer(work, message))


@dataclass(frozen=True)
class Device:
    """The device of this process, as a stage uses it."""

    batcher: Batcher
    watch: Watch
    check: Check

    def infer(self, work: Work, message: Message) -> Callable[[], Outcome]:
        """Hand one run's array to the device; the returned function waits for the output."""
        self.check(work.spec)
        array = work.array("input")
        bin, deadline = (_variant(work), array.shape, str(array.dtype)), monotonic() + DEADLINE_S
        future = self.batcher.submit(bin, array, deadline)
        self.watch(work.ref, future)

        def wait() -> Outcome:
            try:
                inferred = wait_with_heartbeats(future, message, deadline)
            except CancelledError:
                STAGE.heartbeat([work.ref])  # confirms the cancellation: the run ends
                return REQUEUED
            name = "degraded" if inferred.is_degraded else "output"
            scratch().put(work.scratch(name), inferred.array)
            return None

        return wait


def wait_with_heartbeats(future: "Future[Inferred]", message: Message, deadline: float) -> Inferred:
    """The future's result. While it waits for the device, the message's leases are renewed.

    Raises ModelFailure with code `timeout` at the deadline, and whatever the model raises.
    """
    while monotonic() < deadline:
        try:
            return future.result(RENEW_S)
        except TimeoutError:
            if future.done():  # the model's own TimeoutError
                raise
            STAGE.heartbeat(run_refs(message))
        except Expired:
            break
    future.cancel()
    raise ModelFailure(
        f"the device did not answer within {DEADLINE_S} s",
        code="timeout",
        hint="Try again when fewer jobs are waiting.",
    )


def _variant(work: Work) -> str:
    """The name of the run's model and profile on the device: `matting`, `matting:quality`."""
    profile = getattr(work.params, "profile", "") if work.model.profiles else ""
    return registry.variant_name(work.spec.model, work.model, profile)
