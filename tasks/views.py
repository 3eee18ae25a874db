"""Looks at jobs for all who watch: what is asked for during one read goes into the next."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

from storage.records import Look, View

MOST_AT_ONCE = 100
"""Jobs of one read: Redis does nothing else meanwhile."""


Read = Callable[[Sequence[str]], Awaitable[Look]]
Tell = Callable[[set[str], Look | Exception], None]
"""What to do with a look at these jobs, or with the reason why there is none; must neither wait nor
raise."""


class Views:
    """Reads one lot at a time. A look is never older than the question.

    With `gather_s`, whoever asks first waits so long for others to ask: for those who draw progress
    bars, and would otherwise cost a round trip per change.
    """

    def __init__(self, read: Read, gather_s: float = 0.0) -> None:
        self._ask, self._gather_s = read, gather_s
        self._asked: dict[Tell, set[str]] = {}
        self._is_busy = False

    async def look(self, job_ids: Collection[str]) -> Look:
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

    async def _share(self, job_ids: Collection[str]) -> Look:
        answer: asyncio.Future[Look] = asyncio.get_running_loop().create_future()

        def tell(_: set[str], found: Look | Exception) -> None:
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
        self._reading = asyncio.create_task(self._read_all())

    async def _read_all(self) -> None:
        while self._asked:
            if self._gather_s:
                await asyncio.sleep(self._gather_s)
            asked, self._asked = self._asked, {}
            found: Look | Exception
            try:
                found = await self._read(set[str]().union(*asked.values()))
            except Exception as error:  # everybody who asked shall know
                found = error
            for tell, job_ids in asked.items():
                tell(job_ids, found)
        self._is_busy = False

    async def _read(self, job_ids: Collection[str]) -> Look:
        ids = list(job_ids)
        views: dict[str, View] = {}
        at_ms = float("inf")
        for start in range(0, max(len(ids), 1), MOST_AT_ONCE):
            part = await self._ask(ids[start : start + MOST_AT_ONCE])
            views.update(part.views)
            at_ms = min(at_ms, part.at_ms)
        return Look(at_ms, views)
