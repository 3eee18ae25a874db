"""Does a stage's work for every run of a message, so that one run's failure never fails the others.

Every run is fenced: a stage works only on runs whose attempt is still the present one. How often a
stage was started for a run is counted, since a picture may bring the worker down.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import structlog
from billiard.common import (  # type: ignore[attr-defined]  # newer than its stubs
    terminate_handler_fired,
)
from celery import Task
from celery.exceptions import Reject

from storage.errors import StorageDown
from storage.jobs import backlog
from storage.jobs.endings import End
from storage.jobs.spec import VERSION, RunRef
from storage.jobs.stages import StageStart
from storage.states import STAGES
from tasks import compatibility, endings, envelope
from tasks.clients import state
from tasks.compatibility import OtherVersion
from tasks.errors import JobError, ModelFailure, Unavailable
from tasks.message import PROBE, Message, is_newer, is_ticket, new_message, run_refs
from tasks.queues import stage_after
from tasks.results import earlier_end
from tasks.retry import retry
from tasks.run_spans import RunSpans
from tasks.settings import settings
from tasks.stage import Leases, Stage, kept_alive
from tasks.time_limit import shared_timer, time_limit
from tasks.work import ArrayGone, Work, delete_arrays

VOLUME_STAGE_S = 100.0
"""Longest time for a volume in a stage of a cpu worker: shorter than workers.boot.STAGE_LIMIT_S."""
MAX_STARTS = 3
"""A run whose stage was started more often than this brings workers down."""

T = TypeVar("T")

log = structlog.get_logger()


class StorageUnavailable(Unavailable):
    """The storage did not answer for longer than a stage waits; the run is not to blame."""


class Requeued:
    """Outcome of a run that goes on in another message."""


REQUEUED = Requeued()
Outcome = str | End | Requeued | None
"""None: on to the next stage; a string: the run is done, and this is its result; an End, which says
more of that; or REQUEUED."""
Step = Callable[[Work], Outcome | Callable[[], Outcome]]
"""One stage's work on one run. It may return a function: the work has begun, and the function waits
for the outcome, so that the runs of a message are worked on side by side."""
Settled = Outcome | OtherVersion | StorageUnavailable | ArrayGone
"""What became of a run: its outcome, its failure, or why it cannot be done here and now."""


def run_stage(task: "Task[Any, Any]", stage: Stage, message: Message, step: Step) -> None:
    """Do `step` for every live run of a message and queue the message for the next stage.

    Raises Reject, so that the broker delivers the message again, if the state Redis is unavailable.
    """
    request = task.request
    try:
        with shared_timer():
            _run(request, stage, message, step)
    except StorageDown as error:
        log.warning("message requeued", stage=stage.name, reason=str(error))
        raise Reject(str(error), requeue=True) from error
    request.chain = None  # of an older version's message: Celery would queue the next one again


def _run(request: Any, stage: Stage, message: Message, step: Step) -> None:
    refs, ticket = run_refs(message), ""
    if is_newer(message):
        newer = OtherVersion(f"message of version {message['v']}; this worker knows {VERSION}")
        endings.finish(endings.release(dict.fromkeys(refs, newer)))
        return
    if is_ticket(message):
        ticket = request.id
        taken = stage.take(ticket, message["priority"])
        message = new_message(taken.model, message["priority"], list(taken.runs))
        live = _live(taken.runs)
    else:
        live = _live(dict(zip(refs, stage.begin(message, refs), strict=True)))
    if len(message["runs"]) > 1 and any(answer.starts > 1 for answer in live.values()):
        # One of its runs may have brought a worker down. On its own, only that one does so again.
        endings.split(request, message, list(live))
        if ticket:
            state().do(backlog.call_workers(envelope.tickets(), ticket))
        return
    outcomes = _outcomes(stage, message, live, step)
    _leave(outcomes)
    onward = [ref for ref, outcome in outcomes.items() if outcome is None]
    if onward:
        version = _version_for_next(stage, message["model"], live[onward[0]])
        following = new_message(message["model"], message["priority"], onward, version)
        encoded = envelope.following(stage.name, request, following)
        stage.end(message, onward, encoded, ticket, version)
    if len(onward) < len(message["runs"]) and stage.name != STAGES[-1]:
        # Those that left make room for others.
        state().do(backlog.call_workers(envelope.tickets(), "" if onward else ticket))


def _version_for_next(stage: Stage, model: str, answer: StageStart) -> str:
    """Which version of the model inference needs: all runs that are taken together need the same.
    Other stages are done by cpu workers of any version, which release what is not theirs; a probe
    needs none."""
    if stage_after(stage.name) != "inference" or model.startswith(PROBE):
        return ""
    return compatibility.read_spec(answer.spec).model_version


def _live(answers: Mapping[RunRef, StageStart]) -> dict[RunRef, StageStart]:
    """The runs that are this stage's to work on. What is left of those that have ended goes."""
    if ended := [ref for ref, answer in answers.items() if answer.has_ended]:
        delete_arrays(ended)
    return {ref: answer for ref, answer in answers.items() if answer.is_live}


def _outcomes(
    stage: Stage, message: Message, live: Mapping[RunRef, StageStart], step: Step
) -> dict[RunRef, Settled]:
    """First every run's work is begun, then each one's outcome is waited for."""
    leases = Leases(partial(stage.heartbeat, list(live)))
    begun = {}
    outcomes: dict[RunRef, Settled] = {}
    with RunSpans(stage.name, message["model"], live) as spans:
        for ref, answer in live.items():
            leases.renew()
            with spans.of(ref):
                begun[ref] = _settled(ref, partial(_start, stage, ref, answer, step))
        for ref, outcome in begun.items():
            leases.renew()
            with spans.of(ref):
                outcomes[ref] = _settled(ref, outcome) if callable(outcome) else outcome
            spans.end(ref, outcomes[ref])
    return outcomes


def _leave(outcomes: Mapping[RunRef, Settled]) -> None:
    """End, release and restart the runs that do not go on to the next stage."""
    ends = [
        outcome if isinstance(outcome, End) else earlier_end(ref, outcome)
        for ref, outcome in outcomes.items()
        if isinstance(outcome, str | End)
    ]
    errors: dict[RunRef, JobError] = {
        ref: outcome
        for ref, outcome in outcomes.items()
        if isinstance(outcome, OtherVersion | StorageUnavailable)
    }
    endings.finish(ends + endings.release(errors))
    lost = [ref for ref, outcome in outcomes.items() if isinstance(outcome, ArrayGone)]
    endings.restart(lost)


def _start(
    stage: Stage, ref: RunRef, answer: StageStart, step: Step
) -> Outcome | Callable[[], Outcome]:
    if answer.starts > MAX_STARTS:
        raise ModelFailure(
            f"a stage of this run was started {MAX_STARTS} times and never finished",
            code="poison",
            hint="This image brings the worker down. Try another file, or save it again.",
        )
    spec = compatibility.read_spec(answer.spec)
    compatibility.check(spec)
    work = Work(ref, spec, answer.restarts, answer.worked_ms / 1000)
    outcome = _limited(stage, work, partial(step, work))
    return partial(_limited, stage, work, outcome) if callable(outcome) else outcome


def _limited(stage: Stage, work: Work, action: Callable[[], T]) -> T:
    """Within the time limit. The model's file is imported before: an import that is interrupted
    leaves half a module behind."""
    left_s = work.left_s
    if work.model.input == "volume":
        with kept_alive(stage, work.ref), time_limit(min(VOLUME_STAGE_S, left_s), work.limit_s):
            return action()
    limit_s = settings().stage_limit_s
    with time_limit(left_s, work.limit_s) if left_s < limit_s else time_limit(limit_s):
        return action()


def _settled(ref: RunRef, action: Callable[[], Any]) -> Any:
    """What `action` returns, the End of the run if it failed, or why it cannot be done now."""
    try:
        return retry(action)
    except StorageDown as error:
        log.warning("storage down", run=ref.key[:12], reason=str(error))
        return StorageUnavailable("the storage does not answer", hint="Try again in a few seconds.")
    except (OtherVersion, ArrayGone) as error:
        return error
    except JobError as error:
        return endings.failed(ref, error)
    except (Exception, SystemExit) as error:  # a model's functions may raise anything
        if isinstance(error, SystemExit) and terminate_handler_fired():
            raise  # this process is told to end, and another one goes on with the run
        log.error("stage failed", run=ref.key[:12], exc_info=True)
        reason = f"the model failed: {type(error).__name__}: {error}"
        return endings.failed(ref, ModelFailure(reason, hint="The worker's log has the details."))
