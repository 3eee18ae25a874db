"""Ends or requeues, once a second, work that no other process would notice.

That is: runs whose message or worker is lost, jobs whose deadline is over, and a backlog to which
no ticket calls a worker.
"""

from collections.abc import Container, Sequence
from dataclasses import replace

import structlog

from storage.catalogue import ModelCard
from storage.errors import StorageDown
from storage.jobs import backlog, bounds, endings, history, queueing, recovery
from storage.jobs.recovery import Lost
from storage.jobs.spec import NewerVersion, Spec, spec_from_json
from storage.redis.calls import AsyncRedis, Call
from tasks import envelope
from tasks.errors import BadInput
from tasks.loops import AsyncPeriodic
from tasks.message import EXPIRED
from tasks.queues import gpu_queue
from tasks.settings import settings
from web.jobs import counters, credits, parameters, room
from web.jobs.catalogue import CachedCatalogue
from web.jobs.submission import with_key

EVERY_S = 1.0
ALLOWED_S = 60.0
MOST_CALLS = 40
"""Calls of one kind per turn: between them Redis serves others."""

log = structlog.get_logger()


def reaper(state: AsyncRedis, catalogue: CachedCatalogue) -> AsyncPeriodic:
    """The loop that does so every second."""
    return AsyncPeriodic(
        "reaper", lambda: reap(state, catalogue), every_s=EVERY_S, max_age_s=ALLOWED_S
    )


async def reap(state: AsyncRedis, catalogue: CachedCatalogue) -> None:
    """One turn."""
    try:
        await expire_jobs(state)
        await requeue_lost(state, catalogue)
        await keep_going(state, catalogue)
        await drop_queues_of_gone_versions(state, catalogue)
    except StorageDown as error:
        log.warning("lost runs not looked for", reason=str(error))


async def expire_jobs(state: AsyncRedis) -> None:
    """End the jobs whose deadline is over, and trim the users' histories."""
    ttl_s = settings().result_ttl_s
    await _repeat(state, endings.expire(EXPIRED, job_ttl_s=ttl_s), bounds.MOST_EXPIRED)
    used, most = await state.do(room.memory())
    trim = history.trim(
        job_ttl_s=ttl_s,
        most_jobs=settings().history_jobs,
        is_full=used > most * room.HISTORY_SHARE > 0,
    )
    await _repeat(state, trim, bounds.MOST_LOOKED_AT)


async def _repeat(state: AsyncRedis, call: Call[int], most: int) -> None:
    """Repeat a call while it reaches its own limit; what is left then waits for the next turn."""
    for _ in range(MOST_CALLS):
        if await state.do(call) < most:
            return


async def keep_going(state: AsyncRedis, catalogue: CachedCatalogue) -> None:
    """Write how much may wait between backlog and devices, and call workers where tickets were
    lost."""
    current = await catalogue.get()
    await state.do(
        backlog.set_credits(
            credits.tickets(current), credits.runs(current), credits.at_a_time(current)
        )
    )
    await state.do(backlog.call_workers(envelope.tickets()))


async def drop_queues_of_gone_versions(state: AsyncRedis, catalogue: CachedCatalogue) -> None:
    """Delete the messages that no worker will take any more; their runs then count as lost, and are
    requeued for the version that is wanted by now."""
    gone = (await catalogue.get()).gone
    names = [gpu_queue(model, version) for model, all in gone.items() for version in all]
    if names:
        await state.do(queueing.drop(names))


async def requeue_lost(
    state: AsyncRedis, catalogue: CachedCatalogue, grace_ms: int = bounds.GRACE_MS
) -> int:
    """Put lost runs back into the backlog, each as a new attempt; answers how many."""
    count, after = 0, ""
    while True:
        every_ms = int(EVERY_S * 900)
        call = recovery.find_lost(every_ms=every_ms, grace_ms=grace_ms, after=after)
        page = await state.do(call)
        for at in range(0, len(page.items), bounds.MOST_REQUEUED):
            lost = page.items[at : at + bounds.MOST_REQUEUED]
            count += await _requeue(state, catalogue, lost)
        if not page.after:
            return count
        after = page.after


async def _requeue(state: AsyncRedis, catalogue: CachedCatalogue, lost: Sequence[Lost]) -> int:
    current = await catalogue.get()
    specs = [
        updated(run.spec, current.models.get(run.model), current.live.get(run.model, ()))
        for run in lost
    ]
    refs = [run.ref for run in lost]
    call = recovery.requeue(
        refs, specs, job_ttl_s=settings().result_ttl_s, tickets=envelope.tickets()
    )
    attempts, count = await state.do(call), 0
    for run, attempt in zip(lost, attempts, strict=True):
        if attempt:
            count += 1
            counters.LEASES_LOST.labels(run.model).inc()
            log.warning("lost run requeued", run=run.ref.key[:12], attempt=attempt, model=run.model)
    return count


def updated(text: str, card: ModelCard | None, live: Container[str] = ()) -> Spec | None:
    """A run's spec for the model that workers serve now; None if they serve the spec's own version.

    `live`: all versions that they serve; `card`: of the one that is wanted. Also None for a run
    whose parameters that model would refuse: it ends as failed once workers have released it too
    often.
    """
    try:
        spec = spec_from_json(text)
        is_served = spec.model_version in live
        if (
            card is None
            or is_served
            or (card["weights"], card["code"]) == (spec.weights, spec.code)
        ):
            return None
        params = parameters.canonical(card["params"], spec.params)
    except (NewerVersion, BadInput):
        return None
    return with_key(replace(spec, weights=card["weights"], code=card["code"], params=params))
