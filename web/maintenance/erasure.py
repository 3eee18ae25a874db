"""Erases all that belongs to a user: jobs, objects, cached results, keys, links, and at last the
note that it was asked for.

A user's data count as erased once a turn has found nothing more of them in either Redis nor in S3.
The note is in the state Redis, so that whatever process lives goes on after a crash; one process at
a time does.
"""

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence

import structlog

from storage import erasure, keys, object_keys, shares, uploads
from storage.audit import SYSTEM
from storage.errors import StorageDown
from storage.jobs import endings
from storage.redis.calls import AsyncRedis
from storage.s3.objects import PRESIGN_S, Objects
from tasks.loops import AsyncPeriodic, progress
from tasks.settings import settings
from web.audit import AuditLog

EVERY_S = 2.0
LOCK_MS = 30_000
ALLOWED_S = 300.0
MOST_JOBS = 100
"""Jobs of a user that are looked up at a time."""
MOST_REMOVED = 500
"""Keys that one command removes."""
DUTY = 5
"""After a turn of so many seconds, as many times that are waited: a turn looks at all keys, and
anybody may ask for one."""
LONGEST_PAUSE_S = 20.0
SENDING_S = 300
"""How long a PUT may take that began when its address was about to expire."""
MOST_LISTED = 1000
"""Objects that are listed at a time."""

log = structlog.get_logger()


class Superseded(Exception):
    """Another process holds the lock, which this one has not lengthened in time."""


class Eraser:
    """Erases the data of all users who wait for it, a turn at a time."""

    def __init__(self, state: AsyncRedis, cache: AsyncRedis, objects: Objects) -> None:
        self._state, self._cache, self._objects = state, cache, objects
        self._audit = AuditLog(state)
        self._name = secrets.token_hex(8)

    def loop(self) -> AsyncPeriodic:
        """The loop that does so while somebody waits."""
        return AsyncPeriodic("erasure", self.tick, every_s=EVERY_S, max_age_s=ALLOWED_S)

    async def tick(self) -> None:
        """A turn, if somebody waits for it and no other process is at it, and the pause after."""
        began_s = time.monotonic()
        try:
            for user in await self._state.do(erasure.due(time.time())):
                await self._latecomers(user)
            users = await self._state.do(erasure.requested())
            if not users or not await self._state.do(erasure.lock(self._name, LOCK_MS)):
                return
            try:
                await self.turn(users)
            finally:
                await self._state.do(erasure.unlock(self._name))
        except (StorageDown, Superseded) as error:
            log.warning("erasure goes on later", reason=str(error))
        pause_s = min(DUTY * (time.monotonic() - began_s), LONGEST_PAUSE_S)
        await asyncio.sleep(max(pause_s - EVERY_S, 0))

    async def turn(self, users: Mapping[str, bool]) -> Sequence[str]:
        """Remove all that is found of these users (name -> with the account); answers of whom there
        was nothing left. Raises StorageDown and Superseded."""
        found = {user: await self._jobs_and_objects(user) for user in users}
        of_all = await self._sweep(self._state, users) + await self._sweep(self._cache, users)
        clean = [user for user in users if not found[user]] if not of_all else []
        for user in clean:
            again_s = time.time() + PRESIGN_S + SENDING_S
            await self._state.do(erasure.look_again(user, again_s))
            await self._state.do(erasure.done(user))
            await self._audit.record("data.erased", SYSTEM, user)
            log.info("data erased", with_account=users[user])
        return clean

    async def _latecomers(self, user: str) -> None:
        """Erase what was sent since by addresses that were signed before: objects without a record.
        Those of whoever uses the account again have one."""
        after, folder = "", object_keys.uploads_folder(user)
        while page := await asyncio.to_thread(self._objects.page, folder, after, MOST_LISTED):
            for listed in page:
                if not await self._state.do(uploads.exists(user, listed.key.removeprefix(folder))):
                    await asyncio.to_thread(self._objects.erase_page, listed.key)
            after = page[-1].key
            progress()
        await self._state.do(erasure.looked_again(user))

    async def _jobs_and_objects(self, user: str) -> int:
        count = await self._state.do(shares.revoke(user))
        count += await self._jobs(user)
        for prefix in (object_keys.uploads_folder(user), object_keys.results_folder(user)):
            while erased := await asyncio.to_thread(self._objects.erase_page, prefix):
                count += erased
                await self._go_on()
        await self._state.do(erasure.forget_history(user))
        return count

    async def _jobs(self, user: str) -> int:
        """Cancel and delete all jobs of a user; answers how many there were."""
        count = 0
        while job_ids := await self._state.do(erasure.oldest_jobs(user, MOST_JOBS)):
            for job_id in job_ids:
                await self._delete(job_id, user)
            await self._state.do(erasure.forget_entries(user, job_ids))
            count += len(job_ids)
            await self._go_on()
        return count

    async def _delete(self, job_id: str, user: str) -> None:
        ttl_s = settings().result_ttl_s
        if deleted := await self._state.do(endings.delete(job_id, user, job_ttl_s=ttl_s)):
            await self._cache.do(erasure.remove([keys.result(deleted.request_key)]))

    async def _sweep(self, redis: AsyncRedis, users: Mapping[str, bool]) -> int:
        """Remove these users' keys of a Redis; answers how many there were, runs that have not
        ended yet included."""
        count, cursor = 0, ""
        while True:
            found = await redis.do(erasure.find_owned(users, cursor))
            await self._newcomers(found.keys)
            for at in range(0, len(found.keys), MOST_REMOVED):
                await redis.do(erasure.remove(found.keys[at : at + MOST_REMOVED]))
            count += len(found.keys) + found.running
            cursor = found.next
            if not cursor:
                return count
            await self._go_on()

    async def _newcomers(self, names: Sequence[str]) -> None:
        """Delete jobs that came after the history was erased. Without their records alone, entries
        of their ids would stay elsewhere, and nothing would cancel their runs."""
        jobs = [name for name in names if name.startswith(keys.JOB_PREFIX)]
        for job_id in (name.removeprefix(keys.JOB_PREFIX) for name in jobs):
            if user := await self._state.do(erasure.owner_of_job(job_id)):
                await self._delete(job_id, user)

    async def _go_on(self) -> None:
        progress()
        if not await self._state.do(erasure.lock(self._name, LOCK_MS)):
            raise Superseded("another process erases, as this one stood still")
