"""Removes what has been in the audit log for longer than it is kept."""

import time

import structlog

from storage import audit
from storage.errors import StorageDown
from storage.redis.calls import AsyncRedis
from tasks.loops import AsyncPeriodic, progress
from tasks.settings import settings

EVERY_S = 300.0
ALLOWED_S = 1800.0

log = structlog.get_logger()


def audit_trim(state: AsyncRedis) -> AsyncPeriodic:
    """The loop that does so every five minutes."""
    return AsyncPeriodic(
        "audit trim", lambda: trim(state, time.time()), every_s=EVERY_S, max_age_s=ALLOWED_S
    )


async def trim(state: AsyncRedis, now_s: float) -> int:
    """Remove all events that are too old at this time; answers how many."""
    before_ms, removed = int((now_s - settings().audit_days * 86_400) * 1000), 0
    try:
        for stream in audit.STREAMS:
            while count := await state.do(audit.trim(stream, before_ms)):
                removed += count
                progress()
            removed += await state.do(audit.trim_last(stream, before_ms))
    except StorageDown as error:
        log.warning("audit log not trimmed", reason=str(error))
    if removed:
        log.info("audit log trimmed", events=removed)
    return removed
