"""A connection to Redis that all of an asyncio process share: nobody waits for a free one."""

import asyncio
from collections import deque
from typing import Any, Self

import hiredis
import redis.asyncio
from redis._parsers import BaseParser
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, InvalidResponse


class Wire(asyncio.Protocol):
    """Commands go out as they are asked, answers come back in their order.

    redis-py opens and greets. Its own way to ask, with a connection of a pool for each question,
    costs a web process twice the CPU.
    """

    def __init__(self, connection: Any, limit_s: float | None = None) -> None:
        """A Redis that leaves a command unanswered for `limit_s` is given up; None: never."""
        self._connection, self._limit_s = connection, limit_s
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=BaseParser.parse_error
        )
        self._asked: deque[tuple[float, asyncio.Future[Any]]] = deque()
        """When, and who waits for it."""
        self._looking: asyncio.TimerHandle | None = None  # one for all: a timer each costs more
        self._unsent: list[bytes] = []
        self._transport: Any = connection._writer.transport
        self._transport.set_protocol(self)
        self.is_lost = False

    @classmethod
    async def open(cls, url: str, limit_s: float | None = None) -> Self:
        """Connect. Raises redis-py's ConnectionError or TimeoutError."""
        pool: Any = redis.asyncio.ConnectionPool.from_url(  # redis-py does not type it
            url,
            socket_timeout=limit_s,
            socket_connect_timeout=limit_s,
            retry=Retry(NoBackoff(), 0),
        )
        connection = pool.make_connection()
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return cls(connection, limit_s)

    def ask(self, words: tuple[Any, ...]) -> "asyncio.Future[Any]":
        """What Redis will answer to one command, TimeoutError if that takes too long.

        Whoever gives up waiting may cancel it.
        """
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self.is_lost:
            answer.set_exception(ConnectionError("the connection was lost"))
        else:
            self._asked.append((self._loop.time(), answer))
            if self._limit_s is not None and self._looking is None:
                self._looking = self._loop.call_later(self._limit_s, self._look)
            if not self._unsent:
                self._loop.call_soon(self._send)
            self._unsent.append(hiredis.pack_command(words))
        return answer

    async def close(self) -> None:
        """Give up on whatever is still asked."""
        self._lose(ConnectionError("the connection was closed"))
        await self._connection.disconnect(nowait=True)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        try:
            self._reader.feed(data)
            while (found := self._reader.gets()) is not False:
                self._take(found)
        except InvalidResponse as error:
            self._transport.abort()
            self._lose(ConnectionError(str(error)))

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop."""
        self._lose(ConnectionError(str(error or "Redis has closed the connection")))

    def _send(self) -> None:
        """What was asked in one turn of the loop, in one system call."""
        unsent, self._unsent = self._unsent, []
        if not self.is_lost:
            self._transport.write(b"".join(unsent))

    def _take(self, found: Any) -> None:
        _, answer = self._asked.popleft()
        if answer.done():  # whoever asked is gone
            return
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def _look(self) -> None:
        """Give up if Redis has left what was asked first unanswered for too long."""
        self._looking, limit_s = None, self._limit_s or 0.0
        overdue = self._loop.time() - limit_s
        if self._asked and self._asked[0][0] > overdue:
            self._looking = self._loop.call_at(self._asked[0][0] + limit_s, self._look)
        elif self._asked:
            late = [answer for at, answer in self._asked if at <= overdue]
            for answer in late:
                if not answer.done():
                    answer.set_exception(TimeoutError(f"silent for {limit_s:g} s"))
            self._transport.abort()
            # What was asked later would not be answered sooner: it is asked again on another.
            self._lose(ConnectionError("the connection was given up"))

    def _lose(self, error: Exception) -> None:
        self.is_lost = True
        if self._looking:
            self._looking.cancel()
        asked, self._asked = self._asked, deque()
        for _, answer in asked:
            if not answer.done():
                answer.set_exception(error)
