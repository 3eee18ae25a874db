"""Asks that all that belongs to a user be erased; web/maintenance/erasure.py does it."""

import asyncio
from time import monotonic

from storage import erasure
from storage.redis.calls import AsyncRedis
from storage.redis.durable import DurableRedis
from tasks.settings import settings

ASK_EVERY_S = 0.5


class Erasures:
    """The erasures that one web process is asked for."""

    def __init__(self, state: AsyncRedis) -> None:
        self._state = state
        self._durable = DurableRedis(settings().state_url, "the state Redis")

    async def request(self, user: str, *, with_account: bool) -> None:
        """Have all data of this user erased, even after a power cut in this moment."""
        await self._durable.do(erasure.request(user, with_account=with_account))

    async def wait(self, user: str, wait_s: float) -> bool:
        """Whether nothing of this user is left, now or within `wait_s`."""
        end_s = monotonic() + wait_s
        while await self._state.do(erasure.is_requested(user)):
            if monotonic() >= end_s:
                return False
            await asyncio.sleep(ASK_EVERY_S)
        return True
