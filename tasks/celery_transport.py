"""Celery's Redis transport, without the work that kombu repeats for every message.

kombu builds a redis-py client for every operation, and records each message through redis-py's
pipeline, which is made for many commands: together a third of a worker's CPU at our rates. The
commands that Redis gets stay the same, and so does what other kombu workers see.

What is overridden or read here is private to kombu: `Channel._create_client`, `Channel.QoS`,
`Message._raw`, and the layout of the unacked hash and index. No upstream issue asks for a cheaper
path; the only one near, celery/celery#1776, is about switching acknowledgements off, which is no
option with late acknowledgement. tests/test_workers_celery_patches.py fails if a new kombu changes
any of them.
"""

from contextlib import suppress
from time import time
from typing import Any

import orjson
import structlog
from kombu.transport import redis, virtual
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from storage.redis.pool import Connections

log = structlog.get_logger()


class QoS(redis.QoS):
    """Records which messages this worker holds, without waiting for Redis' answer.

    A record that is lost with its connection costs nothing but time. If a message is not recorded
    when its worker dies, the reaper requeues its runs; if it is recorded although it is done, it is
    delivered once more and finds its stage completed. For the same reason the two commands need no
    transaction.
    """

    channel: Any

    def append(self, message: Any, delivery_tag: str) -> None:
        """Record a message as held until it is acknowledged."""
        info = message.delivery_info
        held = orjson.dumps([message._raw, info["exchange"], info["routing_key"]])
        self._record(("HSET", delivery_tag, held), ("ZADD", time(), delivery_tag))
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Remove the record of a message that is done."""
        self._record(("HDEL", delivery_tag), ("ZREM", delivery_tag))
        virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Requeue a message, or drop it.

        A Redis that refuses writes still has its record. The worker no longer renews it, so the
        message is redelivered when its visibility timeout is over.
        """
        try:
            super().reject(delivery_tag, requeue)
        except RedisError as error:
            log.warning("message not requeued", reason=str(error))
            virtual.QoS.ack(self, delivery_tag)

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """Requeue messages whose worker no longer renews them; later, if Redis refuses writes.

        kombu lets the error end the consumer (celery/celery#10205).
        """
        with suppress(ResponseError):
            super().restore_visible(*args, **options)

    def _record(self, on_held: tuple[Any, ...], on_index: tuple[Any, ...]) -> None:
        channel = self.channel
        held = channel.global_keyprefix + channel.unacked_key
        index = channel.global_keyprefix + channel.unacked_index_key
        commands = [(on_held[0], held, *on_held[1:]), (on_index[0], index, *on_index[1:])]
        # A second attempt replaces a connection that a restart of Redis has closed.
        Retry(NoBackoff(), 1).call_with_retry(
            lambda: channel.connections.tell(commands), lambda error: None
        )


class Channel(redis.Channel):
    """kombu's channel, which creates its client once."""

    QoS = QoS
    _shared_client: Any = None
    _connections: Connections | None = None

    @property
    def connections(self) -> Connections:
        """The connections for records; new after a reconnection, which makes a new pool."""
        if self._connections is None or self._connections.pool is not self.pool:
            self._connections = Connections(self.pool)
        return self._connections

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:  # for the blocking read; kombu keeps this one itself
            return super()._create_client(asynchronous=True)  # type: ignore[misc]  # not in the stub
        if self._shared_client is None or self._shared_client.connection_pool is not self.pool:
            self._shared_client = super()._create_client()  # type: ignore[misc]  # as above
        return self._shared_client


class Transport(redis.Transport):
    """kombu's Redis transport with these channels."""

    Channel = Channel
