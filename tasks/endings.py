"""How runs leave a stage other than for the next one: ended, released, restarted, or split off."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from storage.jobs import endings, recovery
from storage.jobs.endings import ERASE, LATER, End
from storage.jobs.queueing import enqueue
from storage.jobs.spec import RunRef
from tasks import envelope, results
from tasks.clients import state
from tasks.errors import JobError
from tasks.message import Message, error_record, new_message, version_of
from tasks.retry import retry
from tasks.settings import settings
from tasks.work import delete_arrays

log = structlog.get_logger()


def failed(ref: RunRef, error: JobError) -> End:
    """The end of a run that `error` has failed."""
    log.info(
        "run failed", run=ref.key[:12], attempt=ref.attempt, code=error.code, reason=str(error)
    )
    return End(ref, "failed", json.dumps(error_record(error)), lasting=error.lasting)


def finish(ends: Sequence[End]) -> None:
    """End these runs and their jobs; their arrays go, and the results of deleted jobs."""
    while ends:
        answers = state().do(endings.finish(ends, job_ttl_s=settings().result_ttl_s))
        answered = list(zip(ends, answers, strict=True))
        delete_arrays(end.ref for end, answer in answered if answer != LATER)
        for end, answer in answered:
            if answer == ERASE:
                _erase(end.ref)
        ends = [end for end, answer in answered if answer == LATER]


def release(errors: Mapping[RunRef, JobError]) -> list[End]:
    """Let other workers have these runs later; answers the ends of those released too often.

    `errors` says why each of them cannot be done here and now.
    """
    if not errors:
        return []
    released = state().do(recovery.release(list(errors)))
    delete_arrays(errors)
    for ref, error in errors.items():
        log.info("run released", run=ref.key[:12], attempt=ref.attempt, reason=str(error))
    pairs = zip(errors.items(), released, strict=True)
    return [failed(ref, error) for (ref, error), is_released in pairs if not is_released]


def restart(refs: Sequence[RunRef]) -> None:
    """Send runs through all stages again, as new attempts; Work.array limits how often."""
    if not refs:
        return
    call = recovery.requeue(
        refs, job_ttl_s=settings().result_ttl_s, tickets=envelope.tickets(), restart=True
    )
    attempts = state().do(call)
    for ref, attempt in zip(refs, attempts, strict=True):
        log.warning("array lost, run restarted", run=ref.key[:12], attempt=attempt)
    delete_arrays(refs)


def split(request: Any, message: Message, refs: Sequence[RunRef]) -> None:
    """Queue each of these runs for the present stage again, in a message of its own."""
    encoded = [
        envelope.same(
            request, new_message(message["model"], message["priority"], [ref], version_of(message))
        )
        for ref in refs
    ]
    log.warning("message split", runs=len(encoded))
    state().do(enqueue(encoded))


def _erase(ref: RunRef) -> None:
    """Remove the result of a run whose only job was deleted while it was computed."""
    try:
        retry(partial(results.erase, ref.key))
    except Exception:  # the run has ended; the bucket's own expiry removes what is left
        log.error("result of a deleted job not removed", run=ref.key[:12], exc_info=True)
