"""Celery's Redis transport, without the work that kombu repeats for every message, and with a bound
on the work that a worker takes from each queue instead of one on messages of all.

kombu builds a redis-py client for every operation, and records each message through redis-py's
pipeline, which is made for many commands: together a third of a worker's CPU at our rates. What
other kombu workers see stays the same, but for messages that are held for less than a second.

What is overridden or read here is private to kombu: `Channel._create_client`, `Channel.QoS`,
`Channel._brpop_start`, `Channel._queue_cycle`, `QoS.restore_by_tag`, `Message._raw`, and the layout
of the unacked hash and index. No upstream
issue asks for a cheaper path; the only one near, celery/celery#1776, is about switching
acknowledgements off, which is no option with late acknowledgement.
tests/test_workers_celery_patches.py fails if a new kombu changes any of them.
"""

from collections.abc import Sequence
from contextlib import suppress
from threading import Lock
from time import time
from typing import Any, Protocol

import orjson
import structlog
from kombu.asynchronous import get_event_loop
from kombu.transport import redis, virtual
from kombu.utils.scheduling import round_robin_cycle
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from storage.redis.calls import NUMBER
from storage.redis.pool import Connections

LOOK_S = 0.05
"""While some queue's work is not wanted, it is looked again so soon whether it is."""

log = structlog.get_logger()


class Bound(Protocol):
    """How much a worker takes from each queue: workers/gpu/room.py."""

    def has_room(self, queue: str) -> bool:
        """Whether another message of this queue is wanted."""

    def take(self, id: str, queue: str, runs: int) -> None:
        """A message with so many runs has come."""

    def leave(self, id: str) -> None:
        """The message is done, or is put back."""

    def forget(self) -> None:
        """No message is held any more."""


class QoS(redis.QoS):
    """Records once a second which messages this worker holds, without waiting for Redis' answer.

    Most messages are done before, and are never recorded. A message that is not recorded when its
    worker dies costs nothing but time: the reaper requeues its runs, and calls other workers to the
    backlog. If a message is recorded although it is done, it is delivered once more and finds its
    stage completed. For the same reason the commands need no transaction.
    """

    channel: Any

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._unrecorded: dict[str, Any] = {}
        """Delivery tag -> a message that is held and not recorded yet."""
        self._recording = Lock()
        if self.channel.bound:  # a new connection: what the old one has brought comes again
            self.channel.bound.forget()

    def append(self, message: Any, delivery_tag: str) -> None:
        """Hold a message until it is acknowledged."""
        self._unrecorded[delivery_tag] = message
        virtual.QoS.append(self, message, delivery_tag)
        if bound := self.channel.bound:
            queue = message.delivery_info["routing_key"]
            bound.take(_id(message), queue, _runs(message))

    def ack(self, delivery_tag: str) -> None:
        """Remove a message that is done, and its record if it has one."""
        self._leave(delivery_tag)
        with self._recording:
            if self._unrecorded.pop(delivery_tag, None) is None:
                self._send(
                    [("HDEL", self._held, delivery_tag), ("ZREM", self._index, delivery_tag)]
                )
        virtual.QoS.ack(self, delivery_tag)

    def record(self) -> None:
        """Record the messages that are held by now."""
        with self._recording:
            if commands := self._records():
                self._send(commands)

    def restore_by_tag(self, *args: Any, **options: Any) -> None:
        """Put a message back into its queue, by its record, which must be there by then."""
        self._leave(args[0])
        with self._recording:
            if commands := self._records():
                self.channel.connections.ask(commands, [NUMBER] * len(commands))
        super().restore_by_tag(*args, **options)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Requeue a message, or drop it.

        A Redis that refuses writes still has its record, if it has one. The worker no longer renews
        it, so the message is redelivered when its visibility timeout is over. If it has none, the
        reaper finds that the runs are lost.
        """
        self._leave(delivery_tag)
        try:
            super().reject(delivery_tag, requeue)
        except RedisError as error:
            log.warning("message not requeued", reason=str(error))
            virtual.QoS.ack(self, delivery_tag)

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """Record what is held, and requeue messages whose worker no longer renews them.

        kombu calls this once a second. If Redis refuses writes, that has to wait; kombu lets the
        error end the consumer (celery/celery#10205).
        """
        self.record()
        with suppress(ResponseError):
            super().restore_visible(*args, **options)

    def _leave(self, delivery_tag: str) -> None:
        message = self._delivered.get(delivery_tag) if self._delivered else None
        if message is not None and self.channel.bound:
            self.channel.bound.leave(_id(message))

    def _records(self) -> list[tuple[Any, ...]]:
        """The commands that record all that is held and not recorded yet."""
        held, self._unrecorded = self._unrecorded, {}
        commands: list[tuple[Any, ...]] = []
        for tag, message in held.items():
            info = message.delivery_info
            text = orjson.dumps([message._raw, info["exchange"], info["routing_key"]])
            commands += [("HSET", self._held, tag, text), ("ZADD", self._index, time(), tag)]
        return commands

    @property
    def _held(self) -> str:
        return str(self.channel.global_keyprefix + self.channel.unacked_key)

    @property
    def _index(self) -> str:
        return str(self.channel.global_keyprefix + self.channel.unacked_index_key)

    def _send(self, commands: Sequence[tuple[Any, ...]]) -> None:
        # A second attempt replaces a connection that a restart of Redis has closed.
        Retry(NoBackoff(), 1).call_with_retry(
            lambda: self.channel.connections.tell(commands), lambda error: None
        )


class Channel(redis.Channel):
    """kombu's channel, which creates its client once, and reads the queues whose work is wanted."""

    QoS = QoS
    _queue_cycle: Any
    bound: Bound | None = None
    """Of this process; None: messages are taken as long as the pool has room."""
    _look: Any = None
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

    def _brpop_start(self, timeout: Any = None) -> None:
        """Ask Redis for a message of those queues. One that is asked for already is taken."""
        every, bound = self._queue_cycle, self.bound
        queues = every.consume(len(self.active_queues))
        wanted = [queue for queue in queues if not bound or bound.has_room(queue)]
        if len(wanted) == len(queues):
            super()._brpop_start(timeout)  # type: ignore[misc]  # not in the stub
            return
        if not wanted:
            self._look_again()
            return
        self._queue_cycle = round_robin_cycle(wanted)
        try:
            super()._brpop_start(LOOK_S)  # type: ignore[misc]  # as above
        finally:
            self._queue_cycle = every

    def _look_again(self) -> None:
        """Wake Celery's event loop soon, at each turn of which kombu asks for messages."""
        hub = get_event_loop()
        if hub and self._look is None:
            self._look = hub.call_later(LOOK_S, self._looked)

    def _looked(self) -> None:
        self._look = None


class Transport(redis.Transport):
    """kombu's Redis transport with these channels."""

    Channel = Channel


def _id(message: Any) -> str:
    return str(message.headers.get("id", ""))


def _runs(message: Any) -> int:
    try:
        [carried], *_ = message.payload
        return len(carried["runs"])
    except Exception:  # not one of ours: Celery says so where it is worked on
        return 1
