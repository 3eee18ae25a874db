"""Whether the state Redis and S3 answer."""

import asyncio
from contextlib import suppress

import structlog

from storage.redis.calls import TEXT, AsyncRedis, command
from storage.s3.asynchronous import AsyncObjects
from storage.s3.objects import Objects

log = structlog.get_logger()


class OutageCheck:
    """Asks both at the same time, so that the answer takes no longer than the slower one."""

    def __init__(self, state: AsyncRedis, objects: AsyncObjects) -> None:
        self._state, self._objects = state, objects

    async def outages(self) -> list[str]:
        """One phrase for each that does not answer."""
        answers = await asyncio.gather(
            self._state.do(command(bool, "PING", kinds=TEXT)),
            self._objects.do(_stat_any),
            return_exceptions=True,
        )
        errors = [str(error) for error in answers if isinstance(error, Exception)]
        for reason in errors:
            log.warning("storage down", path="/readyz", reason=reason)
        return [reason.partition(":")[0] for reason in errors]  # the rest has internal addresses


def _stat_any(objects: Objects) -> None:
    with suppress(FileNotFoundError):
        objects.stat("readyz")
