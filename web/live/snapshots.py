"""Looks at jobs for all who watch: what is asked for during one read goes into the next."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from storage.errors import StorageDown
from storage.jobs.snapshots import JobSnapshots, Snapshot
from tasks.loops import LOOPS, Loop

MOST_AT_ONCE = 50
"""Jobs of one read: Redis does nothing else meanwhile."""
ALLOWED_S = 30.0
"""Age of the last read, while somebody waits for one."""


Read = Callable[[Sequence[str]], Awaitable[JobSnapshots]]
Tell = Callable[[set[str], JobSnapshots | Exception], None]
"""What to do with a look at these jobs, or with the reason why there is none; must not wait."""


class Snapshots:
    """Reads one lot at a time. A look is never older than the question.

    With `gather_s`, whoever asks first waits so long for others to ask: for those who draw progress
    bars, and would otherwise cost a round trip per change.
    """

    def __init__(self, read: Read, gather_s: float = 0.0) -> None:
        self._ask, self._gather_s = read, gather_s
        self._asked: dict[Tell, set[str]] = {}
        self._is_busy = False
        self._loop = Loop("views", ALLOWED_S)
        LOOPS.add(self._loop)
        self._loop.idle()

    async def look(self, job_ids: Collection[str]) -> JobSnapshots:
        """These jobs, maybe among others, as they are now. StorageDown if Redis is silent."""
        if self._is_busy or self._gather_s:
            return await self._share(job_ids)
        self._is_busy = True
        try:
            return await self._read(job_ids)
        finally:
            self._is_busy = False
            if self._asked:  # whoever read for himself does not wait for the others
                self._start()

    def ask(self, job_ids: Collection[str], tell: Tell) -> None:
        """As `look`, for those who do not wait: to wake a task only to ask costs as much again.

        Whoever asks several times before the next read is told once.
        """
        self._asked.setdefault(tell, set()).update(job_ids)
        if not self._is_busy:
            self._start()

    async def _share(self, job_ids: Collection[str]) -> JobSnapshots:
        answer: asyncio.Future[JobSnapshots] = asyncio.get_running_loop().create_future()

        def tell(_: set[str], found: JobSnapshots | Exception) -> None:
            if answer.done():  # whoever asked is gone
                return
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        self.ask(job_ids, tell)
        return await answer

    def _start(self) -> None:
        self._is_busy = True
        self._loop.busy()
        self._reading = asyncio.create_task(self._read_all())
        self._reading.add_done_callback(self._over)

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._is_busy = False
        self._loop.idle()
        if task.cancelled():
            asked, self._asked = self._asked, {}
            self._tell_all(asked, _given_up())
        elif self._asked:  # who came in the last moment
            self._start()

    async def _read_all(self) -> None:
        while self._asked:
            if self._gather_s:
                await asyncio.sleep(self._gather_s)
            asked, self._asked = self._asked, {}
            found: JobSnapshots | Exception = _given_up()
            try:
                found = await self._read(set[str]().union(*asked.values()))
            except asyncio.CancelledError:
                raise
            except StorageDown as error:
                found = error
            except BaseException as error:
                self._loop.fail(error)
                found = error if isinstance(error, Exception) else found
            finally:  # everybody who asked shall know
                self._tell_all(asked, found)
            self._loop.tick()

    def _tell_all(self, asked: Mapping[Tell, set[str]], found: JobSnapshots | Exception) -> None:
        for tell, job_ids in asked.items():
            try:
                tell(job_ids, found)
            except Exception as error:  # the others shall know all the same
                self._loop.fail(error)

    async def _read(self, job_ids: Collection[str]) -> JobSnapshots:
        ids = list(job_ids)
        views: dict[str, Snapshot] = {}
        at_ms = float("inf")
        for start in range(0, max(len(ids), 1), MOST_AT_ONCE):
            part = await self._ask(ids[start : start + MOST_AT_ONCE])
            views.update(part.jobs)
            at_ms = min(at_ms, part.at_ms)
        return JobSnapshots(at_ms, views)


def _given_up() -> Exception:
    return StorageDown("the jobs could not be read")
