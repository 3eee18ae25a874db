"""What `pixelmill users erase` does: has all data of a user erased, and waits until they are."""

import asyncio
from time import monotonic

from storage import audit, erasure
from storage.redis.calls import AsyncRedis
from storage.redis.durable import do_durably
from tasks.clients import objects, state
from tasks.settings import settings
from web.limits import CACHE_LIMIT_S, STATE_LIMIT_S
from web.maintenance.erasure import Eraser

PAUSE_S = 1.0


def erase(user: str) -> float:
    """Erase the account and all data of a user; how many seconds that took.

    It is noted first: if this process ends, or the web processes are quicker, they do it.
    """
    began_s = monotonic()
    do_durably(state(), erasure.request(user, with_account=True))
    state().do(audit.record("data.erase", audit.COMMAND_LINE, user, "ok"))
    asyncio.run(_until_erased(user))
    return monotonic() - began_s


async def _until_erased(user: str) -> None:
    link = AsyncRedis(settings().state_url, "the state Redis", STATE_LIMIT_S)
    cache = AsyncRedis(settings().cache_url, "the cache Redis", CACHE_LIMIT_S)
    eraser = Eraser(link, cache, objects())
    try:
        while await link.do(erasure.is_requested(user)):
            await eraser.tick()
            await asyncio.sleep(PAUSE_S)
    finally:
        await link.close()
        await cache.close()
