"""One pub/sub connection per web process, shared by all requests that wait for changes."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import hiredis
import orjson
import redis.asyncio
import structlog
from redis.exceptions import RedisError

from storage import keys
from storage.states import ENDED
from tasks.loops import AsyncPeriodic, progress

RESYNC_S = 2.0
"""Pub/sub may lose a message, the records in Redis do not: so often every subscription is told to
read the records again."""
SILENT_S = 10.0
"""A connection that has not even answered a ping for this long is taken for dead."""
CONNECT_S = 5.0
PAUSE_S = 0.5
ALLOWED_S = 30.0
"""How old the last completed turn of the loops may get."""
PING = b"*1\r\n$4\r\nPING\r\n"
PATTERNS = (keys.RUN_EVENTS, keys.USER_EVENTS)
RUN_PATTERN = keys.RUN_EVENTS.encode()
OF_SEVERAL = keys.EVENTS_OF_SEVERAL.encode()

log = structlog.get_logger()

Messages = dict[str, list[bytes]]
"""Channel -> its messages, oldest first. Empty: read the records again."""
OnMessage = Callable[[str, bytes], None]
"""(channel, message)"""


class Subscription:
    """Collects the messages of its channels until they are asked for.

    Whoever wants each message at once replaces `on_message`.
    """

    def __init__(self, pubsub: "PubSub") -> None:
        self._pubsub = pubsub
        self.on_message: OnMessage = self._collect
        """Called for each message; must not block. If it raises, this subscription is told to read
        the records again."""
        self._messages: Messages = {}
        self._must_resync = False
        self._is_notified = False
        self._waiting: asyncio.Future[None] | None = None  # one task waits: cheaper than an Event
        self.channels: set[str] = set()

    @property
    def connects(self) -> int:
        """How often the process has connected. When it grows, messages may have been lost."""
        return self._pubsub.connects

    def add(self, channel: str) -> None:
        """Subscribe to one more channel."""
        self.channels.add(channel)
        self._pubsub.subscriptions.setdefault(channel, set()).add(self)

    def remove(self, channel: str) -> None:
        """Unsubscribe from a channel."""
        self.channels.discard(channel)
        others = self._pubsub.subscriptions.get(channel, set())
        others.discard(self)
        if not others:
            self._pubsub.subscriptions.pop(channel, None)

    def close(self) -> None:
        """Unsubscribe from all channels."""
        for channel in list(self.channels):
            self.remove(channel)

    async def messages(self) -> Messages:
        """The messages since the last call; waits until there are some, or a resync is due."""
        is_resync = await self.notified()
        messages = self.take()
        return {} if is_resync else messages

    def take(self) -> Messages:
        """The messages since the last call, possibly none. Does not wait."""
        messages, self._messages = self._messages, {}
        return messages

    async def notified(self) -> bool:
        """Wait for `notify` or `resync`; answers whether it was a resync."""
        if not self._is_notified:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        self._is_notified = False
        is_resync, self._must_resync = self._must_resync, False
        return is_resync

    def notify(self) -> None:
        """Wake the task that waits for this subscription."""
        self._is_notified = True
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)

    def resync(self) -> None:
        """Wake it and let it read the records again: a message may have been lost."""
        self._must_resync = True
        self.notify()

    def _collect(self, channel: str, message: bytes) -> None:
        self._messages.setdefault(channel, []).append(message)
        self.notify()


class PubSub:
    """Hands each message of Redis to the subscriptions of its channel.

    Subscribe first, then read the record, then wait: so no change is ever missed.

    The process follows all channels by two patterns and drops messages that no request has
    subscribed to. Why not one SUBSCRIBE per run: docs/benchmarks/sse.md.
    """

    def __init__(self, url: str) -> None:
        # RESP2, in which messages are plain lists: they are parsed here, since redis-py's own
        # reader costs several times as much per message as all the rest.
        self._client = redis.asyncio.Redis.from_url(
            url, socket_timeout=None, socket_connect_timeout=2, protocol=2
        )
        self.subscriptions: dict[str, set[Subscription]] = {}
        self.connects = 0
        self._ended: dict[str, bytes] = {}
        self._ended_before: dict[str, bytes] = {}
        """Channel -> the message of the end, of the runs that have ended in this turn of the clock,
        and in the one before."""
        self._following = AsyncPeriodic(
            "pubsub", self._follow_once, every_s=PAUSE_S, max_age_s=ALLOWED_S
        )
        clock = AsyncPeriodic("pubsub clock", self._tick, every_s=0, max_age_s=ALLOWED_S)
        self._loops = (self._following, clock)

    @contextmanager
    def subscribed(self, *channels: str) -> Iterator[Subscription]:
        """A subscription to these channels until the context ends."""
        subscription = Subscription(self)
        for channel in channels:
            subscription.add(channel)
        try:
            yield subscription
        finally:
            subscription.close()

    def end_of(self, channel: str) -> bytes | None:
        """The message of the end of this channel's run, if it has ended in the last RESYNC_S
        seconds or a little more.

        Who subscribes to a run that was under way a moment ago may have missed it.
        """
        return self._ended.get(channel) or self._ended_before.get(channel)

    def start(self) -> None:
        """Connect and follow all channels; reconnects by itself."""
        for loop in self._loops:
            loop.start()

    async def stop(self) -> None:
        """Stop following."""
        for loop in self._loops:
            await loop.stop()

    async def close(self) -> None:
        """Close the client, after `stop`."""
        await self._client.aclose()

    async def _tick(self) -> None:
        await asyncio.sleep(RESYNC_S)
        self._ended, self._ended_before = {}, self._ended
        self._resync_all()

    async def _follow_once(self) -> None:
        """Follow until the connection is lost."""
        try:
            await self._follow()
        except (RedisError, OSError) as error:
            log.warning("pub/sub connection lost", reason=str(error) or type(error).__name__)

    async def _follow(self) -> None:
        pool: Any = self._client.connection_pool  # redis-py does not type make_connection
        connection = pool.make_connection()
        try:
            # A Redis that hangs accepts the connection and then never answers.
            async with asyncio.timeout(CONNECT_S):
                await connection.connect()
            reader = _MessageReader(self._dispatch)
            # Messages are handled as they arrive: a task that reads them would cost as much again.
            transport = connection._writer.transport
            transport.set_protocol(reader)
            await connection.send_command("PSUBSCRIBE", *PATTERNS)
            while True:
                await asyncio.wait((reader.lost,), timeout=SILENT_S / 3)
                reader.check(SILENT_S)
                progress()
                transport.write(PING)
        finally:
            await connection.disconnect(nowait=True)

    def _dispatch(self, answer: list[Any]) -> None:
        if answer[0] == b"pmessage":
            if answer[2] == OF_SEVERAL:
                self._hand_to_runs(answer[3])
                return
            channel = answer[2].decode()
            if answer[1] == RUN_PATTERN:
                self._note_end(channel, answer[3])
            self._hand_over(channel, answer[3])
        elif answer[0] == b"psubscribe" and answer[2] == len(PATTERNS):
            self.connects += 1
            self._resync_all()  # messages sent while there was no connection are lost

    def _hand_over(self, channel: str, message: bytes) -> None:
        for subscription in tuple(self.subscriptions.get(channel, ())):
            try:
                subscription.on_message(channel, message)
            except Exception as error:  # the other subscriptions still get the message
                self._following.loop.fail(error)
                subscription.resync()

    def _hand_to_runs(self, message: bytes) -> None:
        """A change of several runs that is no end of any: told to those who follow one of them."""
        try:
            for key in orjson.loads(message)["runs"]:
                self._hand_over(keys.run_events(key), message)
        except (ValueError, LookupError, TypeError) as error:  # nothing that a script of ours says
            self._following.loop.fail(error)

    def _note_end(self, channel: str, message: bytes) -> None:
        try:
            if orjson.loads(message)["state"] in ENDED:
                self._ended[channel] = message
        except (ValueError, LookupError, TypeError) as error:  # nothing that a script of ours says
            self._following.loop.fail(error)

    def _resync_all(self) -> None:
        everybody = {item for items in self.subscriptions.values() for item in items}
        for subscription in everybody:
            subscription.resync()


class _MessageReader(asyncio.Protocol):
    """Parses what arrives on a subscribed connection until the connection is lost."""

    def __init__(self, dispatch: Callable[[list[Any]], None]) -> None:
        self._dispatch = dispatch
        self._reader = hiredis.Reader()
        self._received_s = monotonic()
        # The reason is the result and not the exception of this future: asyncio would log an
        # exception that no task has read, as happens when the process stops.
        self.lost: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._received_s = monotonic()
        self._reader.feed(data)
        while (answer := self._reader.gets()) is not False:
            if isinstance(answer, list):
                self._dispatch(answer)
            elif isinstance(answer, Exception):  # Redis refused the subscription
                self._lose(answer)

    def connection_lost(self, error: Exception | None) -> None:
        self._lose(error or ConnectionError("the state Redis has closed the connection"))

    def check(self, silent_s: float) -> None:
        """Raises ConnectionError once it is lost, TimeoutError if not even pings are answered."""
        if self.lost.done():
            error = self.lost.result()
            raise ConnectionError(str(error) or type(error).__name__) from error
        if monotonic() - self._received_s > silent_s:
            raise TimeoutError(f"the state Redis was silent for {silent_s:g} s")

    def _lose(self, error: Exception) -> None:
        if not self.lost.done():
            self.lost.set_result(error)
