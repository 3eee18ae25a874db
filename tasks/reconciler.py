"""Looks every second for what nobody else would notice: runs whose message or worker is lost are
queued again, jobs whose time is over end."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import structlog

from storage import records
from storage.errors import StorageDown
from storage.records import Ref, Spec
from tasks import chain, counts, parameters
from tasks.errors import BadInput
from tasks.loops import AsyncLoop
from tasks.message import EXPIRED, Lane, message
from tasks.pipeline import Pipeline, with_key
from tasks.settings import settings

EVERY_S = 1.0
ALLOWED_S = 60.0

log = structlog.get_logger()


def reconciler(pipeline: Pipeline) -> AsyncLoop:
    """The loop that looks every second."""
    return AsyncLoop(
        "reconciler", lambda: reconcile(pipeline), every_s=EVERY_S, allowed_s=ALLOWED_S
    )


async def reconcile(pipeline: Pipeline) -> None:
    """Look once."""
    try:
        await pipeline.state.do(records.expire(EXPIRED, job_ttl_s=settings().job_ttl_s))
        await lead_again(pipeline)
    except StorageDown as error:
        log.warning("not reconciled", reason=str(error))


async def lead_again(pipeline: Pipeline, grace_ms: int = records.GRACE_MS) -> int:
    """Give lost runs a new number and queue them, each in a message of its own; answers how many.

    A crash between the two leaves a waiting run, which is found again.
    """
    call = records.find_lost(every_ms=int(EVERY_S * 900), grace_ms=grace_ms)
    lost = await pipeline.state.do(call)
    if not lost:
        return 0
    cards = (await pipeline.catalogue()).models
    specs = [updated(run.spec, cards.get(run.model)) for run in lost]
    refs = [run.ref for run in lost]
    call_again = records.lead_again(refs, specs, job_ttl_s=settings().job_ttl_s)
    numbers = await pipeline.state.do(call_again)
    letters = []
    for run, n in zip(lost, numbers, strict=True):
        if n:
            counts.LEASES_LOST.labels(run.model).inc()
            log.warning("run led again", run=run.ref.key[:12], n=n, model=run.model)
            # Whatever was lost may be what kills workers: it shares a message with nobody.
            ref = Ref(run.ref.key, n)
            letters.append(chain.first(message(run.model, cast(Lane, run.lane), [ref])))
    await pipeline.state.do(records.post(letters))
    return len(letters)


def updated(text: str, card: Mapping[str, Any] | None) -> Spec | None:
    """A run's spec for the model that workers have now; None if that is the one it is for already.

    A run that the model as it is now would refuse stays as it is, and ends when it has been handed
    back too often.
    """
    try:
        spec = records.spec_from_json(text)
        if card is None or (card["weights"], card["code"]) == (spec.weights, spec.code):
            return None
        params = parameters.canonical(card["params"], spec.params)
    except (records.NewerVersion, BadInput):
        return None
    now = replace(spec, weights=card["weights"], code=card["code"], params=params)
    return with_key(now)
