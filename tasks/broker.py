"""Celery's Redis transport, without what it does again and again.

kombu builds a redis-py client for every operation and takes redis-py's pipeline, made for much
larger ones, to note each message down: together a third of a worker's CPU at our rates. The
commands on the wire stay the same, and so does what other kombu workers see.
"""

from time import time
from typing import Any

from kombu.transport import redis, virtual
from kombu.utils.json import dumps


class QoS(redis.QoS):
    """Notes down what this worker holds, in one transaction, straight on a connection."""

    channel: Any

    def append(self, message: Any, delivery_tag: str) -> None:
        """Hold a message until it is acknowledged."""
        info = message.delivery_info
        held = dumps([message._raw, info["exchange"], info["routing_key"]])
        self._transact(("ZADD", time(), delivery_tag), ("HSET", delivery_tag, held))
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Let go of a message that is done."""
        self._transact(("ZREM", delivery_tag), ("HDEL", delivery_tag))
        virtual.QoS.ack(self, delivery_tag)

    def _transact(self, on_index: tuple[Any, ...], on_held: tuple[Any, ...]) -> None:
        channel = self.channel
        index = channel.global_keyprefix + channel.unacked_index_key
        held = channel.global_keyprefix + channel.unacked_key
        connection = channel.pool.get_connection()
        try:
            commands = [
                ("MULTI",),
                (on_index[0], index, *on_index[1:]),
                (on_held[0], held, *on_held[1:]),
                ("EXEC",),
            ]
            connection.send_packed_command(connection.pack_commands(commands))
            for _ in commands:
                connection.read_response()
        except BaseException:
            connection.disconnect()  # answers that nobody read must not meet the next command
            raise
        finally:
            channel.pool.release(connection)


class Channel(redis.Channel):
    """kombu's channel that makes its client once."""

    QoS = QoS
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
