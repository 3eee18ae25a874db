"""A user's earlier jobs, a page at a time."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from storage.jobs import history
from storage.jobs.history import Filter as Filter  # routes name it by this module
from storage.jobs.snapshots import JobSnapshots, Snapshot
from storage.redis.calls import AsyncRedis

MOST = 50
"""Jobs of a page: Redis does nothing else while it reads them."""
MOST_SCRIPTS = 8
"""Calls by which one request looks for jobs that its filter lets pass; each looks at 250."""


@dataclass(frozen=True)
class JobPage:
    """Some of a user's jobs, newest first."""

    jobs: Sequence[Snapshot]
    next: str
    """Where the next page begins; empty after the last one."""


class History:
    """The jobs of users, as one web process reads them."""

    def __init__(
        self, state: AsyncRedis, read: Callable[[Sequence[str]], Awaitable[JobSnapshots]]
    ) -> None:
        self._state, self._read = state, read

    async def page(self, user: str, wanted: Filter, before: str, most: int) -> JobPage:
        """At most `most` (up to MOST) of this user's jobs from before a time or a page's `next`.

        It may have fewer, though there are more: a filter that few jobs pass is not followed to the
        end of a long history.
        """
        found: list[str] = []
        for _ in range(MOST_SCRIPTS):
            call = history.list_jobs(user, wanted, before=before, most=most - len(found))
            page = await self._state.do(call)
            found += page.job_ids
            before = page.next
            if not before or len(found) == most:
                break
        return JobPage(await self._snapshots(user, found), before)

    async def _snapshots(self, user: str, job_ids: Sequence[str]) -> Sequence[Snapshot]:
        if not job_ids:
            return []
        jobs = (await self._read(job_ids)).jobs
        present = (jobs[job_id] for job_id in job_ids if job_id in jobs)  # not deleted meanwhile
        return [snapshot for snapshot in present if snapshot.fields["user"] == user]
