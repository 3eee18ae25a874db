"""Looks every second for what nobody else would notice: runs whose message or worker is lost are
queued again, jobs whose time is over end."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import structlog

from storage.errors import StorageDown
from storage.jobs import bounds, endings, history, recovery
from storage.jobs.queueing import enqueue
from storage.jobs.recovery import Lost
from storage.jobs.spec import NewerVersion, RunRef, Spec, spec_from_json
from storage.redis.calls import AsyncRedis, Call
from tasks import envelope
from tasks.errors import BadInput
from tasks.loops import AsyncPeriodic
from tasks.message import EXPIRED, Priority, new_message
from tasks.settings import settings
from web.jobs import counters, parameters
from web.jobs.service import Pipeline, with_key

EVERY_S = 1.0
ALLOWED_S = 60.0
MOST_CALLS = 40
"""Of one kind per look: between them Redis serves others."""

log = structlog.get_logger()


def reconciler(pipeline: Pipeline) -> AsyncPeriodic:
    """The loop that looks every second."""
    return AsyncPeriodic(
        "reconciler", lambda: reconcile(pipeline), every_s=EVERY_S, max_age_s=ALLOWED_S
    )


async def reconcile(pipeline: Pipeline) -> None:
    """Look once."""
    try:
        await let_go(pipeline)
        await requeue(pipeline)
    except StorageDown as error:
        log.warning("not reconciled", reason=str(error))


async def let_go(pipeline: Pipeline) -> None:
    """End the jobs whose time is over, and remove what has expired from the histories of users."""
    state, ttl_s = pipeline.state, settings().job_ttl_s
    await _repeat(state, endings.expire(EXPIRED, job_ttl_s=ttl_s), bounds.MOST_EXPIRED)
    await _repeat(state, history.trim(job_ttl_s=ttl_s), bounds.MOST_LOOKED_AT)


async def _repeat(state: AsyncRedis, call: Call[int], most: int) -> None:
    """Do a call again while it finds as much as it may; what is left then is for the next look."""
    for _ in range(MOST_CALLS):
        if await state.do(call) < most:
            return


async def requeue(pipeline: Pipeline, grace_ms: int = bounds.GRACE_MS) -> int:
    """Give lost runs a new number and queue them, each in a message of its own; answers how many.

    A crash between the two leaves a waiting run, which is found again.
    """
    count, after = 0, ""
    while True:
        every_ms = int(EVERY_S * 900)
        call = recovery.find_lost(every_ms=every_ms, grace_ms=grace_ms, after=after)
        page = await pipeline.state.do(call)
        for at in range(0, len(page.items), bounds.MOST_REQUEUED):
            count += await _lead_again(pipeline, page.items[at : at + bounds.MOST_REQUEUED])
        if not page.after:
            return count
        after = page.after


async def _lead_again(pipeline: Pipeline, lost: Sequence[Lost]) -> int:
    cards = (await pipeline.catalogue()).models
    specs = [updated(run.spec, cards.get(run.model)) for run in lost]
    refs = [run.ref for run in lost]
    call_again = recovery.requeue(refs, specs, job_ttl_s=settings().job_ttl_s)
    numbers = await pipeline.state.do(call_again)
    letters = []
    for run, n in zip(lost, numbers, strict=True):
        if n:
            counters.LEASES_LOST.labels(run.model).inc()
            log.warning("run led again", run=run.ref.key[:12], n=n, model=run.model)
            # Whatever was lost may be what kills workers: it shares a message with nobody.
            ref = RunRef(run.ref.key, n)
            letters.append(
                envelope.first(new_message(run.model, cast(Priority, run.priority), [ref]))
            )
    await pipeline.state.do(enqueue(letters))
    return len(letters)


def updated(text: str, card: Mapping[str, Any] | None) -> Spec | None:
    """A run's spec for the model that workers have now; None if that is the one it is for already.

    A run that the model as it is now would refuse stays as it is, and ends when it has been handed
    back too often.
    """
    try:
        spec = spec_from_json(text)
        if card is None or (card["weights"], card["code"]) == (spec.weights, spec.code):
            return None
        params = parameters.canonical(card["params"], spec.params)
    except (NewerVersion, BadInput):
        return None
    now = replace(spec, weights=card["weights"], code=card["code"], params=params)
    return with_key(now)
