"""Celery's Redis transport, without what it does again and again.

kombu builds a redis-py client for every operation and takes redis-py's pipeline, made for much
larger ones, to note each message down: together a third of a worker's CPU at our rates. The
commands on the wire stay the same, and so does what other kombu workers see.
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

from storage.redis.calls import Connections

log = structlog.get_logger()


class QoS(redis.QoS):
    """Notes down what this worker holds, and waits for no answer.

    A note that is lost with its connection costs nothing but time: a message that is not held when
    its worker dies is what the reconciler is for, and one that is held though it is done comes once
    more and finds its stage over. For the same reason the two parts need no transaction.
    """

    channel: Any

    def append(self, message: Any, delivery_tag: str) -> None:
        """Hold a message until it is acknowledged."""
        info = message.delivery_info
        held = orjson.dumps([message._raw, info["exchange"], info["routing_key"]])
        self._note(("HSET", delivery_tag, held), ("ZADD", time(), delivery_tag))
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Let go of a message that is done."""
        self._note(("HDEL", delivery_tag), ("ZREM", delivery_tag))
        virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Put a message back, or drop it.

        A Redis that takes no writes has it noted down still: it comes back by itself when its
        visibility timeout is over, and is renewed no more until then.
        """
        try:
            super().reject(delivery_tag, requeue)
        except RedisError as error:
            log.warning("message not put back", reason=str(error))
            virtual.QoS.ack(self, delivery_tag)

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """Put back what others hold no more; later, where Redis takes no writes."""
        with suppress(ResponseError):
            super().restore_visible(*args, **options)

    def _note(self, on_held: tuple[Any, ...], on_index: tuple[Any, ...]) -> None:
        channel = self.channel
        held = channel.global_keyprefix + channel.unacked_key
        index = channel.global_keyprefix + channel.unacked_index_key
        commands = [(on_held[0], held, *on_held[1:]), (on_index[0], index, *on_index[1:])]
        # A connection that a restart of Redis has closed is healed by a second try.
        Retry(NoBackoff(), 1).call_with_retry(
            lambda: channel.connections.tell(commands), lambda error: None
        )


class Channel(redis.Channel):
    """kombu's channel that makes its client once."""

    QoS = QoS
    _kept: Any = None
    _connections: Connections | None = None

    @property
    def connections(self) -> Connections:
        """What notes are written over; anew after a reconnection, which makes a new pool."""
        if self._connections is None or self._connections.pool is not self.pool:
            self._connections = Connections(self.pool)
        return self._connections

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:  # holds the blocking read; kombu keeps it itself
            return super()._create_client(asynchronous=True)  # type: ignore[misc]  # not in the stub
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc]  # as above
        return self._kept


class Transport(redis.Transport):
    """kombu's Redis transport over such channels."""

    Channel = Channel
