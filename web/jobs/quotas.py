"""Quotas as one web process applies them: the defaults of the settings, and refusals by name."""

from collections.abc import Sequence

from storage import quotas
from storage.jobs.claims import Refusal
from storage.quotas import Allowance as Allowance  # these for those who import no storage
from storage.quotas import Exceeded, Quotas, Use, Used
from storage.redis.calls import AsyncRedis
from tasks.settings import MIB, settings
from web.jobs import admission, counters


def defaults() -> Quotas:
    """What each payer may use who has no quotas of their own."""
    now = settings()
    return {
        "images_per_hour": now.images_per_hour,
        "images_per_day": now.images_per_day,
        "bytes_per_hour": int(now.mib_per_hour * MIB),
        "bytes_per_day": int(now.mib_per_day * MIB),
        "stored_bytes": int(now.stored_mib * MIB),
        "jobs_in_flight": now.max_in_flight,
    }


def of_image(payer: str, size: int) -> Use:
    """A new run, on `size` bytes that come with the request and are stored for it."""
    return Use(payer, defaults(), images=1, bytes=size, stored_ttl_s=settings().upload_ttl_s)


class QuotaBook:
    """What payers have used, in the state Redis."""

    def __init__(self, state: AsyncRedis) -> None:
        self._state = state

    async def read(self, payer: str) -> Sequence[Allowance]:
        """All quotas of a payer, and what is left of them."""
        return await self._state.do(quotas.read(payer, defaults()))

    async def use_bytes(self, payer: str, size: int, stored_ttl_s: int) -> Used:
        """Count bytes that are about to be stored. Raises Busy above a quota."""
        used = await self._state.do(quotas.use(_of_bytes(payer, size, stored_ttl_s)))
        if isinstance(used, Exceeded):
            counters.REFUSED.labels("", used.limit).inc()
            refusal = Refusal(used.limit, used.value, used.room_in_ms, used.most)
            raise admission.busy(refusal, "interactive")
        return used

    async def give_bytes_back(self, payer: str, size: int, stored_ttl_s: int, used: Used) -> None:
        """Count them no longer: they were not stored."""
        use = _of_bytes(payer, size, stored_ttl_s)
        await self._state.do(quotas.give_back(use, used.at_ms))


def _of_bytes(payer: str, size: int, stored_ttl_s: int) -> Use:
    return Use(payer, defaults(), bytes=size, stored_ttl_s=stored_ttl_s)
