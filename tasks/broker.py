"""Celery's Redis transport, with clients that are kept.

kombu builds a redis-py client for every single operation: a fifth of a worker's CPU at our rates.
One client per pool does the same; it takes a connection of the pool per command, like the others.
"""

from typing import Any

from kombu.transport import redis


class Channel(redis.Channel):
    """kombu's channel that makes its client once."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:  # holds the blocking read; kombu keeps it itself
            return super()._create_client(asynchronous=True)  # type: ignore[misc]  # not in the stub
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc]  # as above
        return self._kept


class Transport(redis.Transport):
    """kombu's Redis transport over such channels."""

    Channel = Channel
