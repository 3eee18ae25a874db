"""Waiting for S3 on an event loop: as long as it shows signs of life, and no longer.

A server that was killed refuses at once. One that hangs says nothing, and neither does one that is
at a large object: a small question in between tells them apart.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, TypeVar

import httpx

from storage.errors import StorageDown
from storage.s3.objects import Objects

PATIENCE_S = 0.7
"""Who says nothing for so long is asked whether it is there,"""
ANSWER_S = 0.7
"""and has so long to answer. Together, somebody is told within two seconds."""
TURNS = 7
"""That time is waited for in so many parts: a turn of the loop that itself takes long, as hundreds
of requests have come at once, uses up one of them and is not taken for the server's silence."""
THREADS = 32

T = TypeVar("T")


class Watch:
    """Knows whether a server is there, by asking when it matters."""

    def __init__(self, ask: Callable[[], Awaitable[Any]]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[None] | None = None
        self._is_silent = False

    async def check(self) -> None:
        """Raises StorageDown unless the server answers now. Whoever asks at a time asks once."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._answered())
        await asyncio.shield(self._asking)

    async def over(
        self, work: Callable[[], Awaitable[T]], since: Callable[[], float] | None = None
    ) -> T:
        """What `work` answers; StorageDown once the server answers neither it nor a question.

        `since` tells the time (monotonic) from which the server, and not its client, is waited for.
        """
        if self._is_silent:  # it was: rather ask than start one thing more to wait for
            await self.check()
        began = monotonic()
        working = asyncio.ensure_future(work())
        try:
            seen = began
            while not working.done():
                left_s = max(seen, since() if since else began) + PATIENCE_S - monotonic()
                if left_s > 0:
                    await asyncio.wait({working}, timeout=min(left_s, PATIENCE_S))
                else:
                    await self.check()
                    seen = monotonic()
            return await working
        finally:
            working.cancel()

    async def _answered(self) -> None:
        self._is_silent = True
        asking = asyncio.ensure_future(self._ask())
        try:
            for _ in range(TURNS):
                await asyncio.wait({asking}, timeout=ANSWER_S / TURNS)
            if not asking.done():
                raise TimeoutError
            await asking
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            raise StorageDown(f"S3 did not answer: {error or type(error).__name__}") from error
        finally:
            asking.cancel()
        self._is_silent = False


class AsyncObjects:
    """Objects for an event loop: calls in threads of their own, under a watch."""

    def __init__(self, objects: Objects, url: str = "") -> None:
        """`url` is the server's; without one (a folder) nobody is asked."""
        self.objects = objects
        self._url = url
        self._client: httpx.AsyncClient | None = None
        self._threads = ThreadPoolExecutor(THREADS, "objects")
        self.watch = Watch(self._any_answer)

    async def do(self, call: Callable[[Objects], T]) -> T:
        """What `call` answers, as storage.s3.objects says."""

        async def work() -> T:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, call, self.objects
            )

        return await self.watch.over(work)

    async def close(self) -> None:
        """Wait for nobody."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client:
            await self._client.aclose()

    async def _any_answer(self) -> None:
        """Even a refusal is a sign of life."""
        if self._url:
            self._client = self._client or httpx.AsyncClient(trust_env=False)
            await self._client.head(self._url, timeout=TURNS * ANSWER_S)  # who asks waits less
