"""Writes that are answered only once they are on the disk of Redis' host: a power cut keeps them.

Redis answers other writes up to a second before its append-only file is on the disk
(`appendfsync everysec`). That is right for jobs, which can be done again, and not for a password
that was changed, or a key that was revoked.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from redis.exceptions import RedisError

from storage.errors import StorageDown, refusal
from storage.redis.calls import ARRAY, Call, SyncRedis, command
from storage.redis.connection import PipelinedConnection, pack
from storage.redis.scripts import source

LIMIT_S = 3.0
"""How long a disk may take. Redis itself waits for its next flush, at most a second."""
NOT_DURABLE = "what was written may be lost in a power cut: "
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
        raw, on_disk = _raw(call), _on_disk(self.name)
        try:
            connection = await PipelinedConnection.open(self._url, LIMIT_S + 1, self.name)
            try:
                # In one turn of the loop, so on this connection and in this order.
                answers = await asyncio.gather(
                    connection.ask(pack(raw.words), raw.kinds),
                    connection.ask(pack(on_disk.words), on_disk.kinds),
                )
            finally:
                await connection.close()
            on_disk.parse(answers[1])
            return call.parse(answers[0])
        except (RedisError, OSError) as error:
            raise StorageDown(_why(self.name, error)) from error


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
