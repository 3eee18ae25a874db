"""One pub/sub connection per web process: wakes whoever listens to what has changed."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import hiredis
import redis.asyncio
import structlog
from redis.exceptions import RedisError

from storage import keys
from tasks.loops import AsyncPeriodic, progress

LOOK_AGAIN_S = 2.0
"""Pub/sub may lose, the record does not: so often everybody looks, whatever was said."""
SILENT_S = 10.0
"""A connection that has not even answered a ping for so long is dead."""
CONNECT_S = 5.0
PAUSE_S = 0.5
ALLOWED_S = 30.0
"""Age of the loops' last sign of life."""
PING = b"*1\r\n$4\r\nPING\r\n"
PATTERNS = (keys.RUN_EVENTS, keys.USER_EVENTS)

log = structlog.get_logger()

Heard = dict[str, list[bytes]]
"""What was said on each channel that spoke; empty: look at everything again."""
Hear = Callable[[str, bytes], None]
"""(channel, word)"""


class Listener:
    """Gathers what is said on its channels until it is asked.

    Whoever would rather be told of each word as it comes puts a `hear` of his own in its place.
    """

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self.hear: Hear = self._gather
        """Called by the hub; must not wait. One that raises is asked to look at the record."""
        self._heard: Heard = {}
        self._all = False
        self._is_woken = False
        self._waiting: asyncio.Future[None] | None = None  # cheaper than an Event: one waits
        self.channels: set[str] = set()

    @property
    def joined(self) -> int:
        """How often the hub had to connect: when it grows, words may have been lost."""
        return self._hub.joined

    def add(self, channel: str) -> None:
        """Listen to one more channel, from now on."""
        self.channels.add(channel)
        self._hub.listeners.setdefault(channel, set()).add(self)

    def drop(self, channel: str) -> None:
        """Listen to it no more."""
        self.channels.discard(channel)
        others = self._hub.listeners.get(channel, set())
        others.discard(self)
        if not others:
            self._hub.listeners.pop(channel, None)

    def close(self) -> None:
        """Listen to nothing any more."""
        for channel in list(self.channels):
            self.drop(channel)

    async def heard(self) -> Heard:
        """What was said since the last call; waits until there is something."""
        everything = await self.woken()
        heard = self.take()
        return {} if everything else heard

    def take(self) -> Heard:
        """What was said since the last call, maybe nothing."""
        heard, self._heard = self._heard, {}
        return heard

    async def woken(self) -> bool:
        """Waits for `wake` or `look_again`; whether it was the latter."""
        if not self._is_woken:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        self._is_woken = False
        everything, self._all = self._all, False
        return everything

    def wake(self) -> None:
        """There is something for whoever waits."""
        self._is_woken = True
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)

    def look_again(self) -> None:
        """Called by the hub: something may have been lost."""
        self._all = True
        self.wake()

    def _gather(self, channel: str, word: bytes) -> None:
        self._heard.setdefault(channel, []).append(word)
        self.wake()


class Hub:
    """Listen first, then read the record, then wait: so no change is ever missed.

    Follows all channels by two patterns and drops what nobody here waits for. A run of eight words
    that nobody follows costs 0.10-0.15 CPU ms so; to subscribe to a run and leave it again costs
    0.03-0.09 of whoever follows it, and a round trip before the first look. One process is better
    off with patterns, several with subscribing: docs/benchmarks/sse.md.
    """

    def __init__(self, url: str) -> None:
        # RESP2: words come as plain lists, which this reads itself. redis-py's own reader costs
        # several times as much per word as everything else that is done with it.
        self._client = redis.asyncio.Redis.from_url(
            url, socket_timeout=None, socket_connect_timeout=2, protocol=2
        )
        self.listeners: dict[str, set[Listener]] = {}
        self.joined = 0
        self._following = AsyncPeriodic(
            "hub", self._follow_once, every_s=PAUSE_S, max_age_s=ALLOWED_S
        )
        clock = AsyncPeriodic("hub clock", self._tick, every_s=0, max_age_s=ALLOWED_S)
        self._loops = (self._following, clock)

    @contextmanager
    def listening(self, *channels: str) -> Iterator[Listener]:
        """A listener to these channels, while the context lasts; it may add and drop some."""
        listener = Listener(self)
        for channel in channels:
            listener.add(channel)
        try:
            yield listener
        finally:
            listener.close()

    def start(self) -> None:
        """Follow everything from now on; reconnects by itself."""
        for loop in self._loops:
            loop.start()

    async def stop(self) -> None:
        """Follow nothing any more."""
        for loop in self._loops:
            await loop.stop()

    async def close(self) -> None:
        """Give the connection back, after `stop`."""
        await self._client.aclose()

    async def _tick(self) -> None:
        await asyncio.sleep(LOOK_AGAIN_S)
        self._wake_all()

    async def _follow_once(self) -> None:
        """Follow until the connection is lost."""
        try:
            await self._follow()
        except (RedisError, OSError) as error:
            log.warning("event stream lost", reason=str(error) or type(error).__name__)

    async def _follow(self) -> None:
        pool: Any = self._client.connection_pool  # redis-py does not type make_connection
        connection = pool.make_connection()
        try:
            async with asyncio.timeout(
                CONNECT_S
            ):  # a Redis that hangs lets one connect, and no more
                await connection.connect()
            words = _Words(self._take)
            # What comes is handled where it arrives: a task to read it would cost as much again.
            transport = connection._writer.transport
            transport.set_protocol(words)
            await connection.send_command("PSUBSCRIBE", *PATTERNS)
            while True:
                await asyncio.wait((words.lost,), timeout=SILENT_S / 3)
                words.check(SILENT_S)
                progress()
                transport.write(PING)
        finally:
            await connection.disconnect(nowait=True)

    def _take(self, found: list[Any]) -> None:
        if found[0] == b"pmessage":
            channel = found[2].decode()
            if listeners := self.listeners.get(channel):
                for listener in tuple(listeners):
                    try:
                        listener.hear(channel, found[3])
                    except Exception as error:  # the others hear of it all the same
                        self._following.loop.fail(error)
                        listener.look_again()
        elif found[0] == b"psubscribe" and found[2] == len(PATTERNS):
            self.joined += 1
            self._wake_all()  # what was said while nobody followed is lost

    def _wake_all(self) -> None:
        for listener in {one for some in self.listeners.values() for one in some}:
            listener.look_again()


class _Words(asyncio.Protocol):
    """Hands on every word of a connection that has subscribed, until it is lost."""

    def __init__(self, take: Callable[[list[Any]], None]) -> None:
        self._take = take
        self._reader = hiredis.Reader()
        self._heard_s = monotonic()
        # The reason is a result, no exception: one that nobody asks for, as the hub was stopped
        # meanwhile, would be complained of whenever the garbage is collected.
        self.lost: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._heard_s = monotonic()
        self._reader.feed(data)
        while (found := self._reader.gets()) is not False:
            if isinstance(found, list):
                self._take(found)
            elif isinstance(found, Exception):  # Redis refused to subscribe
                self._lose(found)

    def connection_lost(self, error: Exception | None) -> None:
        self._lose(error or ConnectionError("the state Redis has closed the connection"))

    def check(self, silent_s: float) -> None:
        """Raises ConnectionError once it is lost, TimeoutError if not even pings are answered."""
        if self.lost.done():
            error = self.lost.result()
            raise ConnectionError(str(error) or type(error).__name__) from error
        if monotonic() - self._heard_s > silent_s:
            raise TimeoutError(f"the state Redis was silent for {silent_s:g} s")

    def _lose(self, error: Exception) -> None:
        if not self.lost.done():
            self.lost.set_result(error)
