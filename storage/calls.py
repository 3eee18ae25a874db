"""Redis operations as values, so that workers (sync) and web (asyncio) share one definition."""

import asyncio
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files
from time import monotonic
from typing import Any, Generic, TypeVar

import redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError, NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from storage.errors import StorageDown
from storage.wire import Wire

PAUSE_S = 0.05
"""A Redis that has closed a connection is asked again after this."""

_NEEDS = re.compile(r"-- Needs (\w+)\.lua\.")

T = TypeVar("T")
Word = str | bytes | int | float


@dataclass(frozen=True)
class Call(Generic[T]):
    """One round trip to Redis and how to read the answer."""

    words: tuple[Word, ...]
    """The command; for a script, what follows `EVALSHA <sha>`."""
    parse: Callable[[Any], T]
    script: str = ""
    """File name in storage/lua without its ending; empty for a plain command."""


def command(parse: Callable[[Any], T], *words: Word) -> Call[T]:
    """A plain Redis command."""
    return Call(words, parse)


def script(
    name: str, parse: Callable[[Any], T], keys: Sequence[str], args: Sequence[Word]
) -> Call[T]:
    """A Lua script of storage/lua: atomic, one round trip."""
    return Call((len(keys), *keys, *args), parse, name)


class Connections:
    """Connections of a client's pool, kept in a list: redis-py's own bookkeeping of who has which
    costs as much CPU as a small command. Safe for threads; a fork starts with none."""

    def __init__(self, pool: Any) -> None:
        self.pool: Any = pool  # redis-py does not type make_connection
        self._free: list[tuple[Any, int]] = []  # with how many answers that nobody waits for
        self._pid = os.getpid()

    @contextmanager
    def lend(self) -> Iterator[Any]:
        """A connection of one's own; it is closed when the body raises: its answers are unread."""
        connection, unread = self._take()
        _skip(connection, unread)
        try:
            yield connection
        except BaseException as error:
            if not isinstance(error, ResponseError):  # an answer that was read
                connection.disconnect()
            raise
        finally:
            self._free.append((connection, 0))

    def ask(self, commands: Sequence[tuple[Word, ...]]) -> list[Any]:
        """Answers of these commands, sent together; raises the first that is an error."""
        with self.lend() as connection:
            connection.send_packed_command(connection.pack_commands(commands))
            answers = [_read_answer(connection) for _ in commands]  # all: none may stay behind
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise answer
        return answers

    def tell(self, commands: Sequence[tuple[Word, ...]]) -> None:
        """Send commands and go on: their answers are read by whoever uses the connection next.

        For what the work does not depend on. Redis gets them before anything that is sent later.
        """
        connection, unread = self._take()
        _skip(connection, unread)
        told = 0
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            told = len(commands)
        finally:
            if not told:
                connection.disconnect()
            self._free.append((connection, told))

    def _take(self) -> tuple[Any, int]:
        if self._pid != os.getpid():
            self._free, self._pid = [], os.getpid()
        try:
            return self._free.pop()
        except IndexError:
            return self.pool.make_connection(), 0


def _skip(connection: Any, unread: int) -> None:
    """Read answers that nobody waits for; a connection that was closed meanwhile is opened anew."""
    try:
        for _ in range(unread):
            with suppress(ResponseError):
                connection.read_response()
    except (RedisError, OSError):
        connection.disconnect()


class Sync:
    """Does calls on a blocking client's connections. StorageDown when Redis does not answer.

    Speaks to the connection itself: redis-py's way through execute_command costs as much CPU again.
    """

    def __init__(self, client: "redis.Redis", name: str = "Redis") -> None:
        self.name = name
        self._connections = Connections(client.connection_pool)
        # A client without a policy of its own heals a connection that a restart has closed.
        self._retry: Any = client.get_retry() or Retry(ConstantBackoff(PAUSE_S), 1)

    def do(self, call: Call[T]) -> T:
        """The parsed answer of one call."""
        with _mapped(self.name):
            return call.parse(self._answer(call))

    def do_together(self, commands: Sequence[Call[T]]) -> list[T]:
        """The parsed answers of plain commands that go in one round trip."""
        words = [call.words for call in commands]
        with _mapped(self.name):
            answers = self._retry.call_with_retry(
                lambda: self._connections.ask(words), lambda error: None
            )
            return [call.parse(answer) for call, answer in zip(commands, answers, strict=True)]

    def _answer(self, call: Call[T]) -> Any:
        if not call.script:
            return self._send(*call.words)
        source, sha = _source(call.script)
        try:
            return self._send("EVALSHA", sha, *call.words)
        except NoScriptError:
            return self._send("EVAL", source, *call.words)

    def _send(self, *words: Word) -> Any:
        return self._retry.call_with_retry(lambda: self._once(words), lambda error: None)

    def _once(self, words: tuple[Word, ...]) -> Any:
        with self._connections.lend() as connection:
            connection.send_command(*words)
            return connection.read_response()


class Gathered(Generic[T]):
    """Plain commands to one Redis that go together, once the first answer is asked for."""

    def __init__(self, link: Sync) -> None:
        self._link = link
        self._waiting: list[tuple[Call[T], Future[T]]] = []

    def ask(self, call: Call[T]) -> Callable[[], T]:
        """What answers the call, later. Raises StorageDown then, as all that went along do."""
        answer: Future[T] = Future()
        self._waiting.append((call, answer))

        def wait() -> T:
            if not answer.done():
                self._send()
            return answer.result()

        return wait

    def _send(self) -> None:
        sent, self._waiting = self._waiting, []
        try:
            found = self._link.do_together([call for call, _ in sent])
        except StorageDown as error:
            for _, answer in sent:
                answer.set_exception(error)
        else:
            for (_, answer), one in zip(sent, found, strict=True):
                answer.set_result(one)


class Async:
    """Does calls over one wire. StorageDown when Redis does not answer in `limit_s`.

    That is all together: connecting, asking, asking again.
    """

    def __init__(self, url: str, name: str = "Redis", limit_s: float | None = None) -> None:
        self.name, self.limit_s = name, limit_s
        self._url = url
        self._wire: Wire | None = None
        self._opening = asyncio.Lock()

    async def do(self, call: Call[T]) -> T:
        """The parsed answer of one call."""
        try:
            return call.parse(await self._answer(call))
        except (RedisError, OSError) as error:
            raise _down(self.name, error) from error

    async def close(self) -> None:
        """Give the connection back; the next call opens another."""
        wire, self._wire = self._wire, None
        if wire:
            await wire.close()

    async def _answer(self, call: Call[T]) -> Any:
        if not call.script:
            return await self._send(*call.words)
        source, sha = _source(call.script)
        try:
            return await self._send("EVALSHA", sha, *call.words)
        except NoScriptError:
            return await self._send("EVAL", source, *call.words)

    async def _send(self, *words: Word) -> Any:
        began_s = monotonic()
        if self._wire and not self._wire.is_lost:
            try:
                return await self._wire.ask(words)  # which watches the time itself
            except ConnectionError:  # a restart of Redis has closed it
                await asyncio.sleep(PAUSE_S)
        left_s = self.limit_s and self.limit_s - (monotonic() - began_s)
        async with asyncio.timeout(left_s):
            try:
                return await (await self._open()).ask(words)
            except ConnectionError:
                await asyncio.sleep(PAUSE_S)
                return await (await self._open()).ask(words)

    async def _open(self) -> Wire:
        if self._wire and not self._wire.is_lost:
            return self._wire
        async with self._opening:
            if not self._wire or self._wire.is_lost:  # others may have waited here
                await self.close()
                self._wire = await Wire.open(self._url, self.limit_s)
            return self._wire


def _read_answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


@cache
def _source(name: str) -> tuple[str, str]:
    source = _read(name)
    if shared := _NEEDS.match(source):  # Redis knows no modules
        source = _read(shared[1]) + source
    return source, sha1(source.encode(), usedforsecurity=False).hexdigest()


def _read(name: str) -> str:
    return files("storage").joinpath(f"lua/{name}.lua").read_text()


@contextmanager
def _mapped(name: str) -> Any:
    try:
        yield
    except (RedisError, OSError) as error:
        raise _down(name, error) from error


def _down(name: str, error: Exception) -> StorageDown:
    return StorageDown(f"{name} did not answer: {error or type(error).__name__}")
