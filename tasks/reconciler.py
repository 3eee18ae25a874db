"""Runs whose message or worker is lost are published again: one web process at a time looks."""

import asyncio
from typing import cast

import structlog

from storage import records
from storage.errors import StorageDown
from tasks.message import Lane
from tasks.pipeline import Pipeline
from tasks.publisher import MAX_PREPROCESS_MS, Ticket

EVERY_S = 1.0

log = structlog.get_logger()


async def reconcile(pipeline: Pipeline) -> None:
    """Look every second, until cancelled."""
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            await lead_again(pipeline)
        except StorageDown as error:
            log.warning("not reconciled", reason=str(error))


async def lead_again(pipeline: Pipeline, grace_ms: int = records.GRACE_MS) -> int:
    """Publish what is lost, each run in a message of its own; answers how many."""
    call = records.reconcile(every_ms=int(EVERY_S * 900), grace_ms=grace_ms)
    lost = await pipeline.state.do(call)
    for run in lost:
        log.warning("run led again", run=run.ref.key[:12], n=run.ref.n, model=run.model)
        # Whatever was lost may be what kills workers: it shares a message with nobody.
        ticket = Ticket(run.model, cast(Lane, run.lane), run.ref, MAX_PREPROCESS_MS)
        # Not waited for: a publish that fails leaves a waiting run, which is found again.
        pipeline.publisher.publish(ticket)
    return len(lost)
