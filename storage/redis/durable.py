"""Writes that are answered only once they are on the disk of Redis' host: a power cut keeps them.

Redis answers other writes up to a second before its append-only file is on the disk
(`appendfsync everysec`). That is not right for a password that was changed, or a key that was
revoked; nor for jobs where whoever has sent one relies on it (`PIXELMILL_DURABLE`).

Valkey (9.1.2 at least) answers WAITAOF too early where `everysec` is set, as Redis 7.4 did
(github.com/redis/redis/pull/13793). There, `appendfsync always` alone keeps this promise.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from redis.exceptions import RedisError

from storage import keys
from storage.errors import StorageDown, refusal
from storage.redis.calls import ARRAY, NUMBER, TEXT, Call, SyncRedis, command
from storage.redis.connection import PipelinedConnection, pack
from storage.redis.scripts import source

LIMIT_S = 3.0
"""How long a disk may take. Redis itself waits for its next flush, at most a second."""
NOT_DURABLE = "what was written may be lost in a power cut: "
GATHER_S = 0.02
"""Who comes within this time shares the question to Redis with the first one."""
NO_AOF = "it must be Redis 7.2 or newer with `appendonly yes` (WAITAOF)"

T = TypeVar("T")


def do_durably(link: SyncRedis, call: Call[T]) -> T:
    """The answer of a call whose effect is on the disk.

    Raises StorageDown if Redis does not answer, or if it cannot promise that. The effect may be
    there all the same.
    """
    try:
        answer, _ = link.do_together([_raw(call), _on_disk(link.name)])
    except StorageDown as error:
        raise StorageDown(_why(link.name, error)) from error
    return call.parse(answer)


class DurableRedis:
    """The same for asyncio. Each write opens a connection of its own: others would wait behind it.

    Raises StorageDown as `do_durably` does.
    """

    def __init__(self, url: str, name: str = "Redis") -> None:
        self._url, self.name = url, name

    async def do(self, call: Call[T]) -> T:
        """The answer of a call whose effect is on the disk."""
        try:
            connection = await PipelinedConnection.open(self._url, LIMIT_S + 1, self.name)
            try:
                answer, _ = await _ask(connection, _raw(call), _on_disk(self.name))
            finally:
                await connection.close()
            return call.parse(answer)
        except (RedisError, OSError) as error:
            raise StorageDown(_why(self.name, error)) from error


class DiskBarrier:
    """Waits until keys that were written are on the disk, whatever connection has written them.

    All who come within GATHER_S share one question, and each question has a connection, as
    `WAITAOF` holds it for up to a second. The connections are kept.
    """

    def __init__(self, url: str, name: str = "Redis") -> None:
        self._url, self.name = url, name
        self._free: list[PipelinedConnection] = []
        self._waiting: list[str] = []
        self._next: asyncio.Task[None] | None = None

    async def passed_by(self, key: str) -> None:
        """Returns once this key, which was just written, is on the disk.

        Raises StorageDown as `do_durably` does, or if the key is gone: then Redis has started again
        without it.
        """
        self._waiting.append(key)
        if self._next is None:
            self._next = asyncio.create_task(self._ask_for_all())
            self._next.add_done_callback(_retrieve)
        await asyncio.shield(self._next)

    async def close(self) -> None:
        """Close the connections."""
        for connection in self._free:
            await connection.close()
        self._free = []

    async def _ask_for_all(self) -> None:
        await asyncio.sleep(GATHER_S)
        waiting, self._waiting, self._next = self._waiting, [], None
        # WAITAOF is about what its own connection has written, and all that was written before.
        written = command(bool, "SET", keys.PROBE, 1, "PX", 1000, kinds=TEXT)
        there = command(int, "EXISTS", *waiting, kinds=NUMBER)
        try:
            connection = await self._take()
            try:
                _, count, _ = await _ask(connection, written, there, _on_disk(self.name))
            except BaseException:
                await connection.close()
                raise
        except (RedisError, OSError) as error:
            raise StorageDown(_why(self.name, error)) from error
        self._free.append(connection)
        if count < len(waiting):
            raise StorageDown(f"{self.name} has lost what was just written")

    async def _take(self) -> PipelinedConnection:
        while self._free:
            connection = self._free.pop()
            if not connection.is_lost:
                return connection
        return await PipelinedConnection.open(self._url, LIMIT_S + 1, self.name)


def _retrieve(asked: "asyncio.Task[None]") -> None:
    """Whoever waited may be gone by now; a task whose error nobody reads would be logged."""
    if not asked.cancelled():
        asked.exception()


async def _ask(connection: PipelinedConnection, *calls: Call[Any]) -> list[Any]:
    """The raw answers to these, of which the last one is that of `_on_disk`.

    They are asked in one turn of the loop, so on this connection and in this order.
    """
    answers = await asyncio.gather(
        *(connection.ask(pack(call.words), call.kinds) for call in calls)
    )
    calls[-1].parse(answers[-1])
    return answers


def _raw(call: Call[Any]) -> Call[Any]:
    """The call as a plain command that is sent whole: such writes are rare."""
    if not call.script:
        return replace(call, parse=_same)
    return Call(("EVAL", source(call.script)[0], *call.words), _same, call.kinds)


def _on_disk(name: str) -> Call[None]:
    """Waits until this connection's writes are in the append-only file on the disk."""

    def parse(answer: Sequence[int]) -> None:
        if answer[0] < 1:
            raise StorageDown(f"{name} did not write to its disk in {LIMIT_S:g} s; {NOT_DURABLE}")

    return command(parse, "WAITAOF", 1, 0, int(LIMIT_S * 1000), kinds=ARRAY)


def _why(name: str, error: Exception) -> str:
    if "WAITAOF" in str(error).upper():  # unknown to Redis, or nothing to wait for
        return f"{name}: {NOT_DURABLE}{NO_AOF}"
    return str(error) if isinstance(error, StorageDown) else refusal(name, error)


def _same(answer: Any) -> Any:
    return answer
