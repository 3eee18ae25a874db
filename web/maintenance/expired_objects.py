"""Deletes uploads and results from S3 that have expired.

The bucket is listed one page a minute, round after round, and up to PAGES while there is something
to delete. So a bucket of any size costs the same: a million objects take 17 hours per round, and
live for days. How far the round has come is
kept in Redis, and one web process at a time does this. Not every S3 server has lifecycle rules of
its own (rclone refuses them).
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

import structlog

from storage import keys, object_keys, uploads
from storage.errors import StorageDown
from storage.redis.calls import MAYBE_TEXT, NUMBER, AsyncRedis, command
from storage.s3.objects import Listed, Objects
from tasks.loops import AsyncPeriodic, progress
from web.jobs import retention

EVERY_S = 60.0
ALLOWED_S = 600.0
PAGE = 1000
"""Objects per listing."""
PAGES = 10
"""Pages per turn while there is something to delete."""
log = structlog.get_logger()


def expired_objects(state: AsyncRedis, objects: Objects) -> AsyncPeriodic:
    """The loop that deletes them, a page a minute."""
    return AsyncPeriodic(
        "expired objects",
        lambda: delete_expired(state, objects),
        every_s=EVERY_S,
        max_age_s=ALLOWED_S,
    )


async def delete_expired(state: AsyncRedis, objects: Objects) -> None:
    """Take the next page, unless another web process has done so in this minute."""
    try:
        if await _is_our_turn(state):
            await delete_next_pages(state, objects, time.time())
    except StorageDown as error:
        log.warning("expired objects not deleted", reason=str(error))


async def delete_next_pages(state: AsyncRedis, objects: Objects, now_s: float) -> int:
    """Delete what has expired in the next page, or pages, of uploads and of results; answers how
    many."""
    deleted = 0
    for prefix, age_s in lifetimes().items():
        for _ in range(PAGES):
            of_page = await _delete_page(state, objects, prefix, age_s, now_s)
            deleted += of_page
            if not of_page:
                break
    if deleted:
        log.info("expired objects deleted", objects=deleted)
    return deleted


def lifetimes() -> Mapping[str, float]:
    """S3 prefix -> seconds that its objects live."""
    return {
        object_keys.UPLOADS: retention.upload_life_s(),
        object_keys.RESULTS: retention.result_life_s(),
    }


async def _delete_page(
    state: AsyncRedis, objects: Objects, prefix: str, age_s: float, now_s: float
) -> int:
    after = await state.do(command(_text, "HGET", keys.EXPIRY_PROGRESS, prefix, kinds=MAYBE_TEXT))
    page = await asyncio.to_thread(objects.page, prefix, after, PAGE)
    old = [item.key for item in page if _made_s(item, now_s) < now_s - age_s]
    if old and prefix == object_keys.UPLOADS:
        needed = await _uploads_in_use(state)
        old = [key for key in old if key not in needed]
    await asyncio.to_thread(_delete, objects, old)
    last = page[-1].key if len(page) == PAGE else ""
    await state.do(command(bool, "HSET", keys.EXPIRY_PROGRESS, prefix, last, kinds=NUMBER))
    return len(old)


async def _uploads_in_use(state: AsyncRedis) -> set[str]:
    """Objects of uploads that jobs wait for, which may do so for longer than uploads are kept."""
    needed: set[str] = set()
    after = ""
    while True:
        named, after = await state.do(uploads.in_use(after))
        needed |= {object_keys.upload_object(user, upload_id) for user, upload_id in named}
        if not after:
            return needed


def _delete(objects: Objects, old: Sequence[str]) -> None:
    for key in old:
        objects.delete(key)
        progress()


def _made_s(listed: Listed, now_s: float) -> float:
    """When an object was made, in seconds since 1970: the later of its date and its key's time.

    A result's key has the time at which it was made, which the date of a copy may not show. Clocks
    of workers may be slow, so the later one counts; one in the future is ignored, since its object
    would never expire.
    """
    made_s = object_keys.edition_made_s(listed.key)
    return max(listed.modified_s, made_s if made_s <= now_s else 0)


async def _is_our_turn(state: AsyncRedis) -> bool:
    lock_ms = int(EVERY_S * 900)
    words = ("SET", keys.EXPIRY_LOCK, 1, "NX", "PX", lock_ms)
    is_ours = await state.do(command(lambda answer: bool(answer), *words, kinds=MAYBE_TEXT))
    if (
        not is_ours
        and await state.do(command(int, "PTTL", keys.EXPIRY_LOCK, kinds=NUMBER)) > lock_ms
    ):
        # It would expire too late: Redis' clock was set back after another process set it.
        await state.do(command(bool, "DEL", keys.EXPIRY_LOCK, kinds=NUMBER))
    return is_ours


def _text(value: bytes | None) -> str:
    return (value or b"").decode()
