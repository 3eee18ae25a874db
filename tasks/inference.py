"""Stage 2, queue `gpu.<model>`: array -> array on the device. Decodes nothing."""

from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Protocol

from celery import Task
from numpy.typing import NDArray

from storage.jobs.spec import RunRef, Spec
from tasks.app import app
from tasks.clients import scratch
from tasks.errors import Expired, ModelFailure
from tasks.message import Message, run_refs
from tasks.models import registry
from tasks.models.base import Inferred
from tasks.runner import REQUEUED, Outcome, run_stage
from tasks.slices import Pass
from tasks.stage import Stage
from tasks.time_limit import too_long
from tasks.work import Work, delete_arrays

DEADLINE_S = 300
"""A device that has not answered after this time is taken for dead."""
RENEW_S = 10

STAGE = Stage("inference", "inferring", 0.3, 0.8)


class Batcher(Protocol):
    """What runs arrays on a device in batches: workers/gpu/batcher.py."""

    def submit(
        self, bin: Hashable, item: Any, deadline: float, flow: Any = ...
    ) -> "Future[Inferred]":
        """Queue one array. Its future ends with the output, or with Expired at the deadline.
        `flow`: whose share of the device's time it uses."""


Watch = Callable[[RunRef, "Future[Any]"], None]
"""Cancels the future when its run is cancelled: workers/gpu/cancellation.py."""


Check = Callable[[Spec], None]
"""Raises OtherVersion for a run that was asked of weights which this device does not have."""


class MeanSlices:
    """How many slices the volumes of a model have, as a running mean: what a run of it costs."""

    FIRST_GUESS, WEIGHT = 100.0, 0.2

    def __init__(self) -> None:
        self._means: dict[str, float] = {}

    def count(self, model: str, slices: int) -> None:
        """A volume of so many has been through the device."""
        mean = self._means.get(model, float(slices))
        self._means[model] = mean + self.WEIGHT * (slices - mean)

    def of(self, model: str) -> float:
        """The mean of a model's volumes so far."""
        return self._means.get(model, self.FIRST_GUESS)


def register(
    batcher: Batcher, watch: Watch, check: Check, submitted: Callable[[str], None]
) -> MeanSlices:
    """Make this process one that does inference; called once, before it consumes messages.

    `submitted` is called with a message's id for each photo of it that is with the batcher.
    Answers how many slices its volumes have.
    """
    slices = MeanSlices()
    device = Device(batcher, watch, check, slices)

    @app.task(name=STAGE.name, bind=True)
    def inference(task: "Task[Any, Any]", message: Message) -> None:
        """Run the model on each run's prepared array; the runs of a message share batches."""
        tell = partial(submitted, str(task.request.id))
        run_stage(task, STAGE, message, lambda work: device.infer(work, message, tell))

    return slices


@dataclass(frozen=True)
class Device:
    """The device of this process, as a stage uses it."""

    batcher: Batcher
    watch: Watch
    check: Check
    slices: "MeanSlices"

    def infer(
        self, work: Work, message: Message, submitted: Callable[[], None]
    ) -> Callable[[], Outcome]:
        """Hand one run's array to the device; the returned function waits for the output."""
        self.check(work.spec)
        array = work.array("input")
        if work.model.input == "volume":
            return partial(self._infer_volume, work, array)
        bin = _variant(work), array.shape, str(array.dtype)
        deadline = monotonic() + min(DEADLINE_S, work.left_s)
        future = self.batcher.submit(bin, array, deadline)
        submitted()
        self.watch(work.ref, future)

        def wait() -> Outcome:
            try:
                inferred = wait_with_heartbeats(future, message, deadline, work.limit_s)
            except CancelledError:
                STAGE.heartbeat([work.ref])  # confirms the cancellation: the run ends
                return REQUEUED
            name = "degraded" if inferred.is_degraded else "output"
            scratch().put(work.scratch(name), inferred.array)
            return None

        return wait

    def _infer_volume(self, work: Work, slices: NDArray[Any]) -> Outcome:
        """The outputs of all slices of a volume, which is a message of its own."""
        variant, stop = _variant(work), Future[None]()
        self.watch(work.ref, stop)
        bin = variant, slices.shape[1:], "float32"
        try:
            stack = Pass(
                slices,
                chunk=work.model.max_batch,
                deadline_s=DEADLINE_S,
                left_s=work.left_s,
                limit_s=work.limit_s,
                submit=lambda item, deadline: self.batcher.submit(bin, item, deadline, variant),
                report=partial(STAGE.report_progress, work.ref),
                stop=stop,
            ).run()
        except CancelledError:
            STAGE.heartbeat([work.ref])  # confirms the cancellation: the run ends
            delete_arrays([work.ref])  # at once, as a volume's are large
            return REQUEUED
        finally:
            stop.cancel()  # nobody watches it any more
        self.slices.count(work.spec.model, len(slices))
        name = "degraded" if stack.is_degraded else "output"
        scratch().put(work.scratch(name), stack.outputs)
        return None


def wait_with_heartbeats(
    future: "Future[Inferred]", message: Message, deadline: float, limit_s: float = inf
) -> Inferred:
    """The future's result. While it waits for the device, the message's leases are renewed.

    `limit_s`: what the run may take in all its stages, for the error.

    Raises ModelFailure with code `timeout` at the deadline, and whatever the model raises.
    """
    while monotonic() < deadline:
        try:
            return future.result(min(RENEW_S, max(deadline - monotonic(), 0)))
        except TimeoutError:
            if future.done():  # the model's own TimeoutError
                raise
            STAGE.heartbeat(run_refs(message))
        except Expired:
            break
    future.cancel()
    if limit_s < DEADLINE_S:
        raise too_long(limit_s, limit_s)
    raise ModelFailure(
        f"the device did not answer within {DEADLINE_S} s",
        code="timeout",
        hint="Try again when fewer jobs are waiting.",
    )


def _variant(work: Work) -> str:
    """The name of the run's model and profile on the device: `matting`, `matting:quality`."""
    profile = getattr(work.params, "profile", "") if work.model.profiles else ""
    return registry.variant_name(work.spec.model, work.model, profile)
