"""One pub/sub connection per web process: wakes whoever waits for a run."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from storage import keys

log = structlog.get_logger()

Change = dict[str, Any]
"""`state` and `version` of a run; empty after a reconnection: look again."""


class Hub:
    """Subscribe first, then read the record, then wait: so no change is ever missed."""

    def __init__(self, url: str) -> None:
        # A reader that waits must have no read timeout; the health check finds a dead connection.
        self._client = redis.asyncio.Redis.from_url(
            url, socket_timeout=None, socket_connect_timeout=2, health_check_interval=10
        )
        self._listeners: dict[str, set[asyncio.Queue[Change]]] = {}

    @contextmanager
    def listening(self, request_key: str) -> "Iterator[asyncio.Queue[Change]]":
        """Changes of one run, while the context lasts."""
        channel = keys.run_events(request_key)
        changes: asyncio.Queue[Change] = asyncio.Queue()
        self._listeners.setdefault(channel, set()).add(changes)
        try:
            yield changes
        finally:
            self._listeners[channel].discard(changes)
            if not self._listeners[channel]:
                del self._listeners[channel]

    async def run(self) -> None:
        """Follow all runs until cancelled; reconnects by itself."""
        while True:
            try:
                await self._follow()
            except (RedisError, OSError) as error:
                log.warning("event stream lost", reason=str(error))
                await asyncio.sleep(0.5)

    async def _follow(self) -> None:
        async with self._client.pubsub() as stream:
            await stream.psubscribe(keys.RUN_EVENTS)
            self._wake_all()
            async for found in stream.listen():
                if found["type"] == "pmessage":
                    self._wake(found["channel"].decode(), found["data"])

    def _wake(self, channel: str, data: bytes) -> None:
        if listeners := self._listeners.get(channel):
            change = json.loads(data)
            for changes in listeners:
                changes.put_nowait(change)

    def _wake_all(self) -> None:
        for listeners in self._listeners.values():
            for changes in listeners:
                changes.put_nowait({})


async def next_change(changes: "asyncio.Queue[Change]", timeout_s: float) -> Change:
    """The next change, or an empty one after `timeout_s`: pub/sub may lose, the record does not."""
    with suppress(TimeoutError):
        return await asyncio.wait_for(changes.get(), timeout_s)
    return {}
