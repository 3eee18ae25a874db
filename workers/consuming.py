"""Whether this worker's consumer takes messages, and whether its pool finishes them.

A consumer may fall silent for ever after its connection to Redis was reset (celery#10205,
celery#10302): the process lives, announces itself, and takes nothing. Only the queue shows that.
"""

from collections.abc import Sequence
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
"""Messages wait, there is room for them, and none has been taken for so long. Longer than Celery
waits between two tries to connect (up to 30 s)."""
LOOK_S = 5.0
PULSE_S = 5.0
PULSE_ALLOWED_S = 90.0
"""The main thread may wait for a Redis that hangs: a few commands of 5 s each."""
PRIORITIES = (0, 3, 6, 9)
"""Steps of kombu's Redis transport: a list each."""
ANSWER_S = 2.0

log = structlog.get_logger()

Mark = tuple[int, frozenset[int]]


class Consuming:
    """Compares what waits in the queues with what this worker does; any change is progress."""

    def __init__(self, url: str, queues: Sequence[str], room: int, stuck_s: float) -> None:
        """`room`: messages in hand at a time. A pool that is full and finishes none for `stuck_s`
        is stuck: that is longer than any message may take."""
        self._client = redis.Redis.from_url(
            url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),
        )  # fmt: skip
        self._lists = [keys.queue(name, step) for name in queues for step in PRIORITIES]
        self._room, self._stuck_s = room, stuck_s
        self._mark: Mark = (-1, frozenset())
        self._since = self._looked_at = monotonic()
        self._is_draining = False

    def drain(self) -> None:
        """The worker is stopping: it is meant to take nothing more."""
        self._is_draining = True

    def trouble(self) -> str | None:
        """Why this worker does not work; None while it does, or while that cannot be told."""
        if self._is_draining or monotonic() - self._looked_at < LOOK_S:
            return None
        self._looked_at, mark = monotonic(), _mark()
        if mark != self._mark:
            self._mark, self._since = mark, monotonic()
            return None
        is_full = len(mark[1]) >= self._room
        if not is_full and not self._has_waiting():
            self._since = monotonic()
            return None
        still_s = monotonic() - self._since
        if still_s > (self._stuck_s if is_full else SILENT_S):
            return _sentence(is_full, still_s)
        return None

    def _has_waiting(self) -> bool:
        """Whether messages wait; no while Redis does not say so."""
        try:
            with self._client.pipeline(transaction=False) as asked:
                asked.ping()  # refused, as taking a message is, while its disk is full
                for name in self._lists:
                    asked.llen(name)
                return any(asked.execute()[1:])
        except (RedisError, OSError):
            return False


class Pulse(bootsteps.StartStopStep):
    """Shows whether the worker's main thread turns; it does nothing else."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    _repeated: Any = None

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._loop = Loop("consumer", PULSE_ALLOWED_S)

    def start(self, consumer: Any) -> None:
        """Begin, where the worker has an event loop."""
        if consumer.hub:
            LOOPS.add(self._loop)
            self._loop.turn()
            self._repeated = consumer.hub.call_repeatedly(PULSE_S, self._loop.turn)

    def stop(self, consumer: Any) -> None:
        """The connection is lost, or the worker stops."""
        LOOPS.remove(self._loop)
        if self._repeated:
            self._repeated.cancel()

    def terminate(self, consumer: Any) -> None:
        """The same, in a hurry."""
        self.stop(consumer)


def _mark() -> Mark:
    """How many messages were begun so far, and which are in hand."""
    return state.all_total_count[0], frozenset(map(id, tuple(state.reserved_requests)))


def _sentence(is_full: bool, still_s: float) -> str:
    if is_full:
        return f"the pool is full and has finished nothing for {still_s:.0f} s"
    return f"messages wait and none has been taken for {still_s:.0f} s, though there is room"
