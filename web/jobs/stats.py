"""The whole installation's numbers: what is under way, what each model has done so far, and how
many workers it needs."""

from collections.abc import Mapping

from storage import pilot
from storage.jobs import stats as job_stats
from storage.jobs.stats import Stats
from storage.pilot import Scaling as Scaling  # for those who import no storage
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

    async def scaling(self, now_ms: float) -> Mapping[str, Scaling]:
        """Model -> what the pilot says at this Redis time; without models of which it knows nothing
        now. Raises StorageDown."""
        views = await self._state.do(pilot.views())
        return {
            model: view.scaling for model, view in views.items() if pilot.is_fresh(view, now_ms)
        }
