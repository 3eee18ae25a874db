"""Results of earlier runs: read from the cache, signed addresses of their objects, deletion."""

import asyncio
from contextlib import suppress

import structlog

from storage import object_keys
from storage import results as stored_results
from storage.errors import StorageDown
from storage.redis.calls import AsyncRedis
from storage.s3.asynchronous import AsyncObjects

log = structlog.get_logger()


class Results:
    """The results that one web process reads, signs addresses for and deletes."""

    def __init__(self, cache: AsyncRedis, objects: AsyncObjects) -> None:
        self._cache, self._objects = cache, objects

    async def known(self, request_key: str) -> str:
        """The JSON of the result in the cache; empty if there is none."""
        try:
            return await self._cache.do(stored_results.read(request_key)) or ""
        except StorageDown as error:  # a cache that is unavailable is as good as empty
            log.warning("result cache unavailable", reason=str(error))
            return ""

    def address(self, key: str, origin: str, media_type: str) -> str:
        """An address under `origin` that reads an object for a few minutes."""
        return self._objects.objects.presign_get(key, origin, media_type)

    async def delete(self, user: str, request_key: str) -> None:
        """Delete a result's objects, and forget it in the cache."""
        folder = object_keys.result_folder(user, request_key)
        await asyncio.to_thread(self._objects.objects.delete_all, folder)
        with suppress(StorageDown):  # a cache that is unavailable forgets by itself
            await self._cache.do(stored_results.forget(request_key))
