"""Reads snapshots of jobs for all who wait: requests that come during one read share the next."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from storage.errors import StorageDown
from storage.jobs.snapshots import JobSnapshots, Snapshot
from tasks.loops import LOOPS, Loop

MOST_AT_ONCE = 50
"""Jobs per read: Redis does nothing else meanwhile."""
ALLOWED_S = 30.0
"""How old the last read may get while somebody waits for one."""


Read = Callable[[Sequence[str]], Awaitable[JobSnapshots]]
"""Job ids -> these jobs as they are in Redis now."""
Callback = Callable[[set[str], JobSnapshots | Exception], None]
"""Gets the ids that were asked for, and their snapshots or the reason why there are none; must not
block."""


class SnapshotReader:
    """One read at a time. A snapshot is never older than the request for it.

    With `throttle_s`, each read is delayed by this long, so that more requests share it: for
    progress bars, which would otherwise cost a round trip per change.
    """

    def __init__(self, read: Read, throttle_s: float = 0.0) -> None:
        self._call, self._throttle_s = read, throttle_s
        self._requested: dict[Callback, set[str]] = {}
        self._is_busy = False
        self._loop = Loop("snapshots", ALLOWED_S)
        LOOPS.add(self._loop)
        self._loop.idle()

    async def read(self, job_ids: Collection[str]) -> JobSnapshots:
        """These jobs, and possibly others, as they are now. StorageDown if Redis is silent."""
        if self._is_busy or self._throttle_s:
            return await self._shared(job_ids)
        self._is_busy = True
        try:
            return await self._read_in_parts(job_ids)
        finally:
            self._is_busy = False
            if self._requested:  # this caller does not wait for those who came meanwhile
                self._start()

    def request(self, job_ids: Collection[str], callback: Callback) -> None:
        """Like `read`, but answers by a callback: cheaper than a task that waits.

        Requests with the same callback before the next read are answered by one call of it.
        """
        self._requested.setdefault(callback, set()).update(job_ids)
        if not self._is_busy:
            self._start()

    async def _shared(self, job_ids: Collection[str]) -> JobSnapshots:
        answer: asyncio.Future[JobSnapshots] = asyncio.get_running_loop().create_future()

        def resolve(_: set[str], outcome: JobSnapshots | Exception) -> None:
            if answer.done():  # the caller was cancelled
                return
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        self.request(job_ids, resolve)
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
            requested, self._requested = self._requested, {}
            self._answer_all(requested, _not_read())
        elif self._requested:  # those who came in the last moment
            self._start()

    async def _read_all(self) -> None:
        while self._requested:
            if self._throttle_s:
                await asyncio.sleep(self._throttle_s)
            requested, self._requested = self._requested, {}
            outcome: JobSnapshots | Exception = _not_read()
            try:
                outcome = await self._read_in_parts(set[str]().union(*requested.values()))
            except asyncio.CancelledError:
                raise
            except StorageDown as error:
                outcome = error
            except BaseException as error:
                self._loop.fail(error)
                outcome = error if isinstance(error, Exception) else outcome
            finally:  # everybody who asked gets an answer
                self._answer_all(requested, outcome)
            self._loop.tick()

    def _answer_all(
        self, requested: Mapping[Callback, set[str]], outcome: JobSnapshots | Exception
    ) -> None:
        for callback, job_ids in requested.items():
            try:
                callback(job_ids, outcome)
            except Exception as error:  # the others get their answer all the same
                self._loop.fail(error)

    async def _read_in_parts(self, job_ids: Collection[str]) -> JobSnapshots:
        ids = list(job_ids)
        jobs: dict[str, Snapshot] = {}
        at_ms = float("inf")
        for start in range(0, max(len(ids), 1), MOST_AT_ONCE):
            part = await self._call(ids[start : start + MOST_AT_ONCE])
            jobs.update(part.jobs)
            at_ms = min(at_ms, part.at_ms)
        return JobSnapshots(at_ms, jobs)


def _not_read() -> Exception:
    return StorageDown("the jobs could not be read")
