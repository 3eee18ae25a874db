"""Redis operations as values, so that workers (sync) and web (asyncio) share one definition."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from types import NoneType
from typing import Any, Generic, TypeVar

import redis
from redis.backoff import ConstantBackoff
from redis.exceptions import (
    ConnectionError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from storage.errors import StorageDown, refusal
from storage.redis.connection import Kinds, PipelinedConnection, Word, pack
from storage.redis.pool import Connections
from storage.redis.scripts import arguments, source

PAUSE_S = 0.05
"""How long to wait before asking again on another connection when Redis has closed one."""

T = TypeVar("T")

NUMBER: Kinds = (int,)
TEXT: Kinds = (bytes, str)
"""A string, simple or bulk; `str` from a client that decodes."""
MAYBE_TEXT: Kinds = (bytes, str, NoneType)
ARRAY: Kinds = (list,)
MAYBE_ARRAY: Kinds = (list, NoneType)
FIELDS: Kinds = (list, dict)
"""A hash: pairs in RESP2, a map in RESP3."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """One round trip to Redis and how to read the answer."""

    words: tuple[Word, ...]
    """The command; for a script, what follows `EVALSHA <sha>`."""
    parse: Callable[[Any], T]
    kinds: Kinds
    """What Python types the answer may have. An answer of another type belongs to another question:
    the connection that it came on is closed."""
    script: str = ""
    """Path below storage/ of the script, without its ending; empty for a plain command."""


def command(parse: Callable[[Any], T], *words: Word, kinds: Kinds) -> Call[T]:
    """A plain Redis command, whose answer is of one of these Python types."""
    return Call(words, parse, kinds)


def script(
    name: str,
    parse: Callable[[Any], T],
    keys: Sequence[str],
    values: Mapping[str, Any],
    *,
    kinds: Kinds,
) -> Call[T]:
    """The Lua script storage/`name`.lua: atomic, one round trip.

    `values` is what it knows as `arguments`: see scripts.arguments.
    """
    return Call((len(keys), *keys, *arguments(values)), parse, kinds, name)


class SyncRedis:
    """Does calls on a blocking client's connections. StorageDown when Redis does not answer.

    It uses the connections directly: redis-py's execute_command costs as much CPU again.
    """

    def __init__(self, client: "redis.Redis", name: str = "Redis") -> None:
        self.name = name
        self._connections = Connections(client.connection_pool, name)
        # Without a policy of its own, a client asks again once: a restart closes connections.
        self._retry: Any = client.get_retry() or Retry(ConstantBackoff(PAUSE_S), 1)

    def do(self, call: Call[T]) -> T:
        """The parsed answer of one call."""
        try:
            return call.parse(self._answer(call))
        except (RedisError, OSError) as error:
            raise _down(self.name, error, call.script) from error

    def do_together(self, commands: Sequence[Call[T]]) -> list[T]:
        """The parsed answers of plain commands that go in one round trip."""
        words, kinds = [call.words for call in commands], [call.kinds for call in commands]
        try:
            answers = [_unless_error(answer) for answer in self._ask(words, kinds)]
            return [call.parse(answer) for call, answer in zip(commands, answers, strict=True)]
        except (RedisError, OSError) as error:
            raise _down(self.name, error, "") from error

    def _answer(self, call: Call[T]) -> Any:
        if not call.script:
            return self._send(call.words, call.kinds)
        text, sha = source(call.script)
        try:
            return self._send(("EVALSHA", sha, *call.words), call.kinds)
        except NoScriptError:
            return self._send(("EVAL", text, *call.words), call.kinds)

    def _send(self, words: tuple[Word, ...], kinds: Kinds) -> Any:
        return _unless_error(self._ask((words,), (kinds,))[0])

    def _ask(self, commands: Sequence[tuple[Word, ...]], kinds: Sequence[Kinds]) -> list[Any]:
        answers: list[Any] = self._retry.call_with_retry(
            lambda: self._connections.ask(commands, kinds), lambda error: None
        )
        return answers


class _Asked(Generic[T]):
    """A command of a batch, and what became of it. (A Future, which has a lock, costs 10 us.)"""

    __slots__ = ("answer", "call", "error", "is_answered")

    def __init__(self, call: Call[T]) -> None:
        self.call = call
        self.is_answered = False
        self.answer: Any = None
        self.error: StorageDown | None = None


class Batch(Generic[T]):
    """Plain commands to one Redis that are sent together, once the first answer is waited for."""

    def __init__(self, link: SyncRedis) -> None:
        self._link = link
        self._waiting: list[_Asked[T]] = []

    def ask(self, call: Call[T]) -> Callable[[], T]:
        """A function that waits for the answer; it raises StorageDown if the batch fails.

        A command that cannot be packed raises here, so that the others are not affected.
        """
        pack(call.words)
        asked = _Asked(call)
        self._waiting.append(asked)

        def wait() -> T:
            if not asked.is_answered:
                self._send()
            if asked.error:
                raise asked.error
            answer: T = asked.answer
            return answer

        return wait

    def _send(self) -> None:
        """Send the batch. If this is interrupted, the calls stay for whoever waits next."""
        try:
            answers = self._link.do_together([asked.call for asked in self._waiting])
        except StorageDown as error:
            for asked in self._waiting:
                asked.error = error
        else:
            for asked, answer in zip(self._waiting, answers, strict=True):
                asked.answer = answer
        for asked in self._waiting:
            asked.is_answered = True
        self._waiting = []


class AsyncRedis:
    """Does calls over one connection. StorageDown when Redis does not answer within `limit_s`.

    That covers everything: connecting, asking, and asking again.
    """

    def __init__(self, url: str, name: str = "Redis", limit_s: float | None = None) -> None:
        self.name, self.limit_s = name, limit_s
        self._url = url
        self._connection: PipelinedConnection | None = None
        self._opening = asyncio.Lock()

    async def do(self, call: Call[T]) -> T:
        """The parsed answer of one call."""
        try:
            return call.parse(await self._answer(call))
        except (RedisError, OSError) as error:
            raise _down(self.name, error, call.script) from error

    async def close(self) -> None:
        """Close the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection:
            await connection.close()

    async def _answer(self, call: Call[T]) -> Any:
        if not call.script:
            return await self._send(call.words, call.kinds)
        text, sha = source(call.script)
        try:
            return await self._send(("EVALSHA", sha, *call.words), call.kinds)
        except NoScriptError:
            return await self._send(("EVAL", text, *call.words), call.kinds)

    async def _send(self, words: tuple[Word, ...], kinds: Kinds) -> Any:
        packed = pack(words)  # first: nothing is sent if it cannot be packed
        began_s, connection = monotonic(), self._connection
        if connection and not connection.is_lost and not connection.is_full:
            try:
                return await connection.ask(packed, kinds)  # which limits the time itself
            except ConnectionError:  # a restart of Redis has closed it
                await asyncio.sleep(PAUSE_S)
        left_s = self.limit_s and self.limit_s - (monotonic() - began_s)
        async with asyncio.timeout(left_s):
            try:
                return await self._ask(packed, kinds)
            except ConnectionError:
                await asyncio.sleep(PAUSE_S)
                return await self._ask(packed, kinds)

    async def _ask(self, packed: bytes, kinds: Kinds) -> Any:
        connection = await self._open()
        await connection.room()
        return await connection.ask(packed, kinds)

    async def _open(self) -> PipelinedConnection:
        if self._connection and not self._connection.is_lost:
            return self._connection
        async with self._opening:
            if not self._connection or self._connection.is_lost:  # others may have waited here
                await self.close()
                self._connection = await PipelinedConnection.open(
                    self._url, self.limit_s, self.name
                )
            return self._connection


def _unless_error(answer: Any) -> Any:
    if isinstance(answer, ResponseError):
        raise answer
    return answer


def _down(name: str, error: Exception, script: str) -> StorageDown:
    return StorageDown(refusal(name, error, script if isinstance(error, ResponseError) else ""))
