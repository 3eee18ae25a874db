"""The whole installation's numbers: what is under way, and what each model has done so far."""

from storage.jobs import stats as job_stats
from storage.jobs.stats import Stats
from storage.redis.calls import AsyncRedis


class StatsReader:
    """Reads them from the state Redis."""

    def __init__(self, state: AsyncRedis) -> None:
        self._state = state

    async def read(self) -> Stats:
        """All pages together. Raises StorageDown."""
        stats = await self._state.do(job_stats.read())
        while stats.after:
            stats = stats.with_page(await self._state.do(job_stats.read(stats.after)))
        return stats
