"""Whether this worker's consumer takes messages, and whether its pool finishes them.

After its connection to Redis was reset, Celery's consumer may stop taking messages for ever
(celery#10205, celery#10302): the process lives and announces itself, and only the queue shows that
it does nothing.
"""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import redis
import structlog
from celery import bootsteps
from celery.worker import state
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from storage import keys
from tasks.loops import LOOPS, Loop

SILENT_S = 60.0
"""The consumer is stuck if messages wait, the pool has room for them, and none has been taken for
this time. Celery waits up to 30 s between two attempts to connect."""
LOOK_S = 5.0
PULSE_S = 5.0
PULSE_ALLOWED_S = 90.0
"""The main thread may wait for a Redis that hangs: 5 s for each of a few commands."""
ANSWER_S = 2.0

log = structlog.get_logger()

Progress = tuple[int, frozenset[int]]
"""How many messages have been started so far, and which of them have not ended."""


class Consuming:
    """Compares the queues with what this worker does; any change is progress."""

    def __init__(
        self,
        url: str,
        queues: Sequence[str],
        room: int,
        stuck_s: float,
        has_room: Callable[[str], bool] = lambda queue: True,
    ) -> None:
        """`url`: the state Redis. `room`: messages that the pool works on at a time. `stuck_s`: a
        full pool that finishes none for so long is stuck; longer than any message may take.
        `has_room`: whether this worker wants messages of a queue now."""
        self._client = redis.Redis.from_url(
            url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),
        )  # fmt: skip
        self._queues, self._has_room = queues, has_room
        self._room, self._stuck_s = room, stuck_s
        self._previous: Progress = (-1, frozenset())
        self._since = self._checked_at = monotonic()
        self._is_draining = False

    def drain(self) -> None:
        """Check no more: a worker that is stopping takes no messages on purpose."""
        self._is_draining = True

    def check(self) -> str | None:
        """Why this worker is stuck, as a sentence; None while it is not, or while Redis is silent.

        May be called at any rate: it looks every LOOK_S seconds.
        """
        if self._is_draining or monotonic() - self._checked_at < LOOK_S:
            return None
        self._checked_at, progress = monotonic(), _progress()
        if progress != self._previous:
            self._previous, self._since = progress, monotonic()
            return None
        wanted = [queue for queue in self._queues if self._has_room(queue)]
        is_full = len(progress[1]) >= self._room or not wanted
        if not is_full and not self._has_waiting(wanted):
            self._since = monotonic()
            return None
        still_s = monotonic() - self._since
        if still_s > (self._stuck_s if is_full else SILENT_S):
            return _sentence(is_full, still_s)
        return None

    def _has_waiting(self, queues: Sequence[str]) -> bool:
        """Whether messages wait in them; False while Redis does not answer."""
        try:
            with self._client.pipeline(transaction=False) as commands:
                commands.ping()  # fails, as taking a message does, while Redis' disk is full
                for queue in queues:
                    for step in keys.CELERY_PRIORITIES:
                        commands.llen(keys.queue(queue, step))
                return any(commands.execute()[1:])
        except (RedisError, OSError):
            return False


class Pulse(bootsteps.StartStopStep):
    """Shows among this process's loops whether Celery's event loop runs."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    _repeated: Any = None

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._loop = Loop("consumer", PULSE_ALLOWED_S)

    def start(self, consumer: Any) -> None:
        """Begin, if the worker has an event loop."""
        if consumer.hub:
            LOOPS.add(self._loop)
            self._loop.tick()
            self._repeated = consumer.hub.call_repeatedly(PULSE_S, self._loop.tick)

    def stop(self, consumer: Any) -> None:
        """The connection is lost, or the worker stops: expect no ticks."""
        LOOPS.remove(self._loop)
        if self._repeated:
            self._repeated.cancel()

    def terminate(self, consumer: Any) -> None:
        """The worker stops at once."""
        self.stop(consumer)


def _progress() -> Progress:
    return state.all_total_count[0], frozenset(map(id, tuple(state.reserved_requests)))


def _sentence(is_full: bool, still_s: float) -> str:
    if is_full:
        return f"the pool is full and has finished nothing for {still_s:.0f} s"
    return f"messages wait and none has been taken for {still_s:.0f} s, though there is room"
