"""Deletes the uploads of volumes once their runs have ended: scans are of patients.

The script that ends a run notes its uploads (storage/shared_lua/ending.lua), whoever ends it. What
a crash leaves here, expired_objects.py removes.
"""

from functools import partial

import structlog

from storage import object_keys, uploads
from storage.errors import StorageDown
from storage.redis.calls import AsyncRedis
from storage.s3.asynchronous import AsyncObjects
from storage.s3.objects import Objects
from tasks.loops import AsyncPeriodic

EVERY_S = 1.0
ALLOWED_S = 60.0

log = structlog.get_logger()


def unneeded_uploads(state: AsyncRedis, objects: AsyncObjects) -> AsyncPeriodic:
    """The loop that does so every second."""
    return AsyncPeriodic(
        "unneeded uploads",
        lambda: delete(state, objects),
        every_s=EVERY_S,
        max_age_s=ALLOWED_S,
    )


async def delete(state: AsyncRedis, objects: AsyncObjects) -> None:
    """One turn: those that no job needs are forgotten, and then deleted with all versions."""
    try:
        for user, upload_id in await state.do(uploads.forget_unneeded()):
            await objects.do(partial(_erase, object_keys.upload_object(user, upload_id)))
    except StorageDown as error:
        log.warning("uploads not deleted", reason=str(error))


def _erase(key: str, s3: Objects) -> None:
    while s3.erase_page(key):
        pass
