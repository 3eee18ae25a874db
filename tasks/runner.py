"""What the three stages share: fencing, delivery count, one run's failure never the message's."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from time import monotonic
from typing import Any, TypeVar

import numpy as np
import structlog
from celery import Task
from celery.exceptions import Reject
from numpy.typing import NDArray

from storage import scratch
from storage.errors import StorageDown
from storage.jobs import endings, recovery, stages
from storage.jobs.endings import ERASE, LATER, End
from storage.jobs.queueing import EncodedMessage, enqueue
from storage.jobs.spec import VERSION, RunRef, Spec
from storage.jobs.stages import StageStart
from tasks import compatibility, queues, results
from tasks import message as messages
from tasks.clients import scratch as scratch_store
from tasks.clients import state
from tasks.compatibility import OtherVersion
from tasks.errors import JobError, ModelFailure, Unavailable
from tasks.message import Message
from tasks.models import registry
from tasks.models.base import Model
from tasks.settings import settings
from tasks.time_limit import at_most, watched

MAX_STARTS = 3
"""A run whose stage was started more often than this takes workers down with it."""
MAX_RESTARTS = 2
"""How often a run starts again because an array between two stages is gone."""
PAUSES_S = (0.2, 0.5, 1.0, 2.0)
"""Waits between tries when storage does not answer."""
PATIENCE_S = 10.0
"""One that hangs is asked no more after so long: whoever waits for it keeps others waiting."""
RENEW_S = 4.0
"""Leases older than this are renewed before the next run of a message: with its `stage_limit_s`
that is less than a lease lasts."""
ARRAYS = ("image", "alpha", "size", "input", "output", "degraded")
OPAQUE, TRANSPARENT = np.dtype(np.int32), np.dtype(np.uint32)
"""Types of the array `size`: they say whether the upload has an array `alpha`, so that one that is
gone is not taken for one that never was. A third number would fail older workers in an upgrade."""

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True)
class Work:
    """One run inside a stage."""

    ref: RunRef
    spec: Spec
    restarts: int = 0
    """How often the run has begun anew because an array between two stages was gone."""

    @cached_property
    def model(self) -> Model:
        """The plug-in that this run is of."""
        return registry.get(self.spec.model)

    @cached_property
    def params(self) -> Any:
        """The run's parameters as the plug-in's own Params."""
        return self.model.params(**self.spec.params)

    def scratch(self, array: str) -> str:
        """Name of one of the run's arrays between stages."""
        return scratch.name(settings().installation, self.ref.key[:32], self.ref.attempt, array)

    def array(self, name: str) -> NDArray[np.generic]:
        """One of the run's arrays, read-only, which an earlier stage has put.

        Raises ArrayGone if it is not there any more, Unavailable if that happens again and again.
        """
        try:
            return scratch_store().get(self.scratch(name))
        except FileNotFoundError as error:
            kind = ArrayGone if self.restarts < MAX_RESTARTS else Unavailable
            hint = "Ask again; if that does not help, the folder of scratch arrays loses files."
            raise kind("an array between two stages is gone", hint=hint) from error


class ArrayGone(Unavailable):
    """An array between two stages is gone (a restart of its host, say): the run starts again."""


class Away(Unavailable):
    """Storage was away for longer than a stage waits: no fault of the run, which is tried again."""


HANDED_BACK = (OtherVersion, Away)


class Requeued:
    """Outcome of a run that goes on in another message."""


REQUEUED = Requeued()
Outcome = str | Requeued | None
"""None: on to the next stage; a string: the run is done, and this its result; or REQUEUED."""
Step = Callable[[Work], Outcome | Callable[[], Outcome]]
"""One stage's work on one run. A callable as answer: begun, and this waits for the outcome, so
that the runs of a message go side by side."""


@dataclass(frozen=True)
class Stage:
    """One of the three, as the run record shows it."""

    name: str
    state: str
    begins: float
    ends: float

    def begin(self, carried: Message, refs: list[RunRef]) -> list[StageStart]:
        """Say that this stage begins for these runs; what each of them answers."""
        return state().do(
            stages.begin_stage(
                refs,
                stage=self.name,
                state=self.state,
                progress=self.begins,
                queue=queues.stage_queue(self.name, carried["model"]),
                priority=carried["priority"],
                job_ttl_s=settings().job_ttl_s,
                expired=messages.EXPIRED,
            )
        )

    def heartbeat(self, refs: list[RunRef]) -> None:
        """Say that this stage is still at these runs; ends those that were cancelled."""
        state().do(
            stages.heartbeat(
                refs,
                stage=self.name,
                job_ttl_s=settings().job_ttl_s,
                expired=messages.EXPIRED,
            )
        )

    def end(self, carried: Message, refs: list[RunRef], message: EncodedMessage | None) -> None:
        """Say that this stage has ended for these runs, and queue the message for the next one."""
        model = carried["model"]
        state().do(
            stages.end_stage(
                refs,
                stage=self.name,
                state=self.state,
                progress=self.ends,
                model=model,
                priority=carried["priority"],
                next_queue=queues.stage_queue_after(self.name, model),
                next_broker_queue=queues.queue_after(self.name, model),
                message=message,
                job_ttl_s=settings().job_ttl_s,
                expired=messages.EXPIRED,
            )
        )


class Leases:
    """The leases of a message's runs, which go one after the other."""

    def __init__(self, renew: Callable[[], Any]) -> None:
        self._renew, self._at = renew, monotonic()

    def renew(self) -> None:
        """Say that the work goes on, if that was not said lately."""
        if monotonic() - self._at > RENEW_S:
            self._renew()
            self._at = monotonic()


def run_stage(task: "Task[Any, Any]", stage: Stage, carried: Message, step: Step) -> None:
    """Do `step` for every live run of a message and queue the message for the next stage."""
    request = task.request
    try:
        with watched():
            _each(request, stage, carried, step)
    except StorageDown as error:
        # The state Redis is away for longer than its client waits: the message comes back later.
        log.warning("stage put back", stage=stage.name, reason=str(error))
        raise Reject(str(error), requeue=True) from error
    request.chain = None  # handed on already; Celery would do it again


def _each(request: Any, stage: Stage, carried: Message, step: Step) -> None:
    refs = messages.refs(carried)
    if messages.is_newer(carried):
        newer = OtherVersion(f"message of version {carried['v']}; this worker knows {VERSION}")
        _finish(_hand_back(dict.fromkeys(refs, newer)))
        return
    answered = list(zip(refs, stage.begin(carried, refs), strict=True))
    if ended := [ref for ref, answer in answered if answer.has_ended]:
        _forget_arrays(ended)
    live = [(ref, answer) for ref, answer in answered if answer.is_live]
    if len(refs) > 1 and any(answer.starts > 1 for _, answer in live):
        # It may have brought a worker down. Apart, only the run that did so does it again.
        _split(request, carried, [ref for ref, _ in live])
        return
    leases = Leases(partial(stage.heartbeat, [ref for ref, _ in live]))
    begun = []
    for ref, answer in live:
        leases.renew()
        begun.append((ref, _guarded(ref, partial(_start, ref, answer, step))))
    outcomes = {}
    for ref, first in begun:
        leases.renew()
        outcomes[ref] = _guarded(ref, partial(_timed, first)) if callable(first) else first
    ends = [
        _end(ref, outcome) for ref, outcome in outcomes.items() if isinstance(outcome, str | End)
    ]
    others = {ref: found for ref, found in outcomes.items() if isinstance(found, HANDED_BACK)}
    _finish(ends + _hand_back(others))
    _start_again([ref for ref, found in outcomes.items() if isinstance(found, ArrayGone)], carried)
    left = [ref for ref, outcome in outcomes.items() if outcome is None]
    if left:
        onward = messages.message(carried["model"], carried["priority"], left)
        stage.end(carried, left, queues.following(request, onward))


def _split(request: Any, carried: Message, refs: list[RunRef]) -> None:
    """Queue each of these runs for this stage in a message of its own."""
    letters = [
        queues.same(request, messages.message(carried["model"], carried["priority"], [ref]))
        for ref in refs
    ]
    log.warning("message split", runs=len(letters))
    state().do(enqueue(letters))


def _start_again(refs: list[RunRef], carried: Message) -> None:
    """Send runs through all stages again, under new numbers; Work.array bounds how often."""
    if not refs:
        return
    call = recovery.requeue(refs, job_ttl_s=settings().job_ttl_s, restart=True)
    numbers = state().do(call)
    letters = []
    for ref, n in zip(refs, numbers, strict=True):
        log.warning("array gone, run starts again", run=ref.key[:12], n=n)
        again = messages.message(carried["model"], carried["priority"], [RunRef(ref.key, n)])
        letters += [queues.first(again)] if n else []
    state().do(enqueue(letters))
    _forget_arrays(refs)


def _hand_back(others: Mapping[RunRef, JobError]) -> list[End]:
    """Let these go, for workers of their version or until storage is there again; the ends of those
    that were let go too often."""
    if not others:
        return []
    gone = state().do(recovery.release(list(others)))
    _forget_arrays(list(others))
    for ref, error in others.items():
        log.info("run handed back", run=ref.key[:12], n=ref.attempt, reason=str(error))
    pairs = zip(others.items(), gone, strict=True)
    return [_failed(ref, error) for (ref, error), is_gone in pairs if not is_gone]


def _end(ref: RunRef, outcome: str | End) -> End:
    return outcome if isinstance(outcome, End) else End(ref, "done", outcome)


def _start(ref: RunRef, answer: StageStart, step: Step) -> Outcome | Callable[[], Outcome]:
    if answer.starts > MAX_STARTS:
        raise ModelFailure(
            f"a stage of this run was started {MAX_STARTS} times and never came to an end",
            code="poison",
            hint="This image brings the worker down. Try another file, or save it anew.",
        )
    spec = compatibility.readable(answer.spec)
    compatibility.check(spec)
    return _timed(partial(step, Work(ref, spec, answer.restarts)))


def _timed(action: Callable[[], T]) -> T:
    """Its plug-in is imported by now: an import that is cut short leaves half of a module."""
    with at_most(settings().stage_limit_s):
        return action()


def _guarded(ref: RunRef, action: Callable[[], Any]) -> Any:
    """What `action` answers, or the End of a run that it failed, or why that is handed back."""
    began = monotonic()
    for pause_s in (*PAUSES_S, None):
        try:
            return action()
        except StorageDown as error:
            if pause_s is None or monotonic() - began > PATIENCE_S:
                log.warning("storage down", run=ref.key[:12], reason=str(error))
                return Away("the storage does not answer", hint="Try again in a few seconds.")
            time.sleep(pause_s)
        except (OtherVersion, ArrayGone) as error:
            return error
        except JobError as error:
            return _failed(ref, error)
        except Exception as error:
            log.error("stage broke", run=ref.key[:12], exc_info=True)
            reason = f"the model broke: {type(error).__name__}: {error}"
            return _failed(ref, ModelFailure(reason, hint="The log of the worker says more."))
    raise AssertionError("unreachable")


def _failed(ref: RunRef, error: JobError) -> End:
    log.info("run failed", run=ref.key[:12], n=ref.attempt, code=error.code, reason=str(error))
    payload = json.dumps(messages.error_json(error))
    return End(ref, "failed", payload, lasting=error.lasting)


def _finish(ends: list[End]) -> None:
    while ends:
        answers = state().do(endings.finish(ends, job_ttl_s=settings().job_ttl_s))
        told = list(zip(ends, answers, strict=True))
        _forget_arrays([end.ref for end, answer in told if answer != LATER])
        for end, answer in told:
            if answer == ERASE:
                _guarded(end.ref, partial(results.erase, end.ref.key))
        ends = [end for end, answer in told if answer == LATER]


def _forget_arrays(refs: list[RunRef]) -> None:
    installation = settings().installation
    names = [
        scratch.name(installation, ref.key[:32], ref.attempt, array)
        for ref in refs
        for array in ARRAYS
    ]
    scratch_store().delete(*names)
