"""S3 for an event loop: waits for an answer while the server responds, and gives up when it hangs.

A server that was killed refuses connections at once. A server that hangs is silent, but so is one
that is busy with a large object. To tell them apart, a silent server is sent a small request.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, TypeVar

import httpx

from storage.errors import StorageDown
from storage.s3.objects import Objects

SILENCE_S = 0.7
"""A server that has been silent for this long is checked by a small request."""
ANSWER_S = 0.7
"""How long the answer to that request may take. A client thus gets an error within two seconds."""
PARTS = 7
"""ANSWER_S is waited for in this many parts. When hundreds of requests arrive at once, this process
is late itself: a long turn of the event loop then uses up one part only, so that the process's own
delay is not mistaken for silence of the server."""
THREADS = 32

T = TypeVar("T")


class Watch:
    """Finds out whether a server responds, when there is reason to doubt it."""

    def __init__(self, ask: Callable[[], Awaitable[Any]]) -> None:
        """`ask` sends the small request and returns once it is answered."""
        self._ask = ask
        self._checking: asyncio.Task[None] | None = None
        self._is_silent = False

    async def check(self) -> None:
        """Raises StorageDown unless the server responds. Concurrent calls share one request."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check())
        await asyncio.shield(self._checking)

    async def over(
        self, work: Callable[[], Awaitable[T]], since: Callable[[], float] | None = None
    ) -> T:
        """The result of `work`. Raises StorageDown if the server stops responding meanwhile.

        `since` returns the time (monotonic) since which the server is waited for, if `work` also
        waits for a client.
        """
        if self._is_silent:  # the last check failed: check before more work waits for the server
            await self.check()
        started = monotonic()
        working = asyncio.ensure_future(work())
        try:
            responded = started
            while not working.done():
                silent_since = max(responded, since() if since else started)
                left_s = silent_since + SILENCE_S - monotonic()
                if left_s > 0:
                    await asyncio.wait({working}, timeout=min(left_s, SILENCE_S))
                else:
                    await self.check()
                    responded = monotonic()
            return await working
        finally:
            working.cancel()

    async def _check(self) -> None:
        self._is_silent = True
        asking = asyncio.ensure_future(self._ask())
        try:
            for _ in range(PARTS):
                await asyncio.wait({asking}, timeout=ANSWER_S / PARTS)
            if not asking.done():
                raise TimeoutError
            await asking
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            raise StorageDown(f"S3 did not answer: {error or type(error).__name__}") from error
        finally:
            asking.cancel()
        self._is_silent = False


class AsyncObjects:
    """Calls of `storage.s3.objects` from an event loop. They run in threads and are watched."""

    def __init__(
        self, objects: Objects, url: str = "", trusted: ssl.SSLContext | None = None
    ) -> None:
        """`url` is the server's; empty for a folder, which always responds. `trusted`: whose
        certificates it may have; see certificates.py."""
        self.objects = objects
        self._url, self._trusted = url, trusted
        self._client: httpx.AsyncClient | None = None
        self._threads = ThreadPoolExecutor(THREADS, "objects")
        self.watch = Watch(self._ask)

    async def do(self, call: Callable[[Objects], T]) -> T:
        """The result of `call`. Raises what it raises, and StorageDown if S3 does not respond."""

        async def work() -> T:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, call, self.objects
            )

        return await self.watch.over(work)

    async def close(self) -> None:
        """Close the connections; calls in progress are abandoned."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client:
            await self._client.aclose()

    async def _ask(self) -> None:
        """Send the small request. An answer of any status shows that the server responds."""
        if self._url:
            if self._client is None:
                verify = self._trusted or True
                self._client = httpx.AsyncClient(trust_env=False, verify=verify)
            # Watch gives up much earlier; this ends the request that is left behind then.
            await self._client.head(self._url, timeout=PARTS * ANSWER_S)
