"""Removes uploads and results in S3 that have outlived their use.

S3 is walked a page at a time, round and round, so that a bucket of any size costs one listing a
minute: a million objects take 17 hours a round, and live for days. The place is kept in Redis, and
one web process at a time walks. Not every S3 has rules of its own for this (rclone refuses them).
"""

import asyncio
import time
from collections.abc import Mapping

import structlog

from storage import keys
from storage.errors import StorageDown
from storage.redis.calls import MAYBE_TEXT, NUMBER, AsyncRedis, command
from storage.s3.objects import Listed, Objects
from tasks.loops import AsyncPeriodic, progress
from tasks.settings import settings

EVERY_S = 60.0
ALLOWED_S = 600.0
PAGE = 1000
PAGES = 10
"""Pages at a time while there is something to remove."""
MARGIN_S = 86_400
"""Objects outlive what is known of them by so much: an address may still be in use."""

log = structlog.get_logger()


def sweeper(state: AsyncRedis, objects: Objects) -> AsyncPeriodic:
    """The loop that walks through old objects, a page a minute."""
    return AsyncPeriodic(
        "sweeper", lambda: sweep(state, objects), every_s=EVERY_S, max_age_s=ALLOWED_S
    )


async def sweep(state: AsyncRedis, objects: Objects) -> None:
    """Look at the next page, unless another web process has done so in this minute."""
    try:
        if await _may_walk(state):
            await sweep_objects(state, objects, time.time())
    except StorageDown as error:
        log.warning("not swept", reason=str(error))


async def sweep_objects(state: AsyncRedis, objects: Objects, now_s: float) -> int:
    """Look at the next page of uploads and of results and remove what is too old; how many."""
    removed = 0
    for prefix, age_s in lifetimes().items():
        for _ in range(PAGES):
            found = await _sweep_page(state, objects, prefix, age_s, now_s)
            removed += found
            if not found:
                break
    if removed:
        log.info("old objects removed", objects=removed)
    return removed


def lifetimes() -> Mapping[str, float]:
    """S3 prefix -> seconds that its objects live."""
    return {
        keys.UPLOADS: settings().upload_ttl_s + MARGIN_S,
        # A job that was answered by a remembered result on its last day names it for so long.
        keys.RESULTS: settings().result_ttl_s + max(settings().job_ttl_s, MARGIN_S),
    }


async def _sweep_page(
    state: AsyncRedis, objects: Objects, prefix: str, age_s: float, now_s: float
) -> int:
    after = await state.do(command(_text, "HGET", keys.SWEPT, prefix, kinds=MAYBE_TEXT))
    last, removed = await asyncio.to_thread(_remove_old, objects, prefix, after, age_s, now_s)
    await state.do(command(bool, "HSET", keys.SWEPT, prefix, last, kinds=NUMBER))
    return removed


def _remove_old(
    objects: Objects, prefix: str, after: str, age_s: float, now_s: float
) -> tuple[str, int]:
    """Where the next page begins, empty after the last one, and how many objects were removed."""
    page = objects.page(prefix, after, PAGE)
    old = [one.key for one in page if _made_s(one, now_s) < now_s - age_s]
    for key in old:
        objects.delete(key)
        progress()
    return (page[-1].key if len(page) == PAGE else ""), len(old)


def _made_s(listed: Listed, now_s: float) -> float:
    """When an object was made. Its key knows of a result what the date of a copy may not say.

    The later of the two counts, since clocks of workers may be slow; one that is fast is not
    believed, or its results would stay for ever.
    """
    made_s = keys.edition_made_s(listed.key)
    return max(listed.modified_s, made_s if made_s <= now_s else 0)


async def _may_walk(state: AsyncRedis) -> bool:
    lock_ms = int(EVERY_S * 900)
    words = ("SET", keys.SWEEPER, 1, "NX", "PX", lock_ms)
    may_walk = await state.do(command(lambda answer: bool(answer), *words, kinds=MAYBE_TEXT))
    if not may_walk and await state.do(command(int, "PTTL", keys.SWEEPER, kinds=NUMBER)) > lock_ms:
        await state.do(command(bool, "DEL", keys.SWEEPER, kinds=NUMBER))  # its clock was set back
    return may_walk


def _text(found: bytes | None) -> str:
    return (found or b"").decode()
