"""A worker that is told to stop ends what it has in hand, or gives it back to the queue in time.

Celery's own warm shutdown waits without end, and its cold one cannot take work from threads.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any

import psutil
import structlog
from celery.worker import state
from redis.exceptions import RedisError

from storage import records
from storage.errors import StorageDown
from tasks import clients
from tasks import message as messages

log = structlog.get_logger()


class Drain:
    """Bounds Celery's warm shutdown. SIGQUIT, or the end of `stop_s`, gives back what is left."""

    def __init__(self, stop_s: float, end: Callable[[int], Any] = os._exit) -> None:
        self._stop_s, self._end = stop_s, end
        self._hurry = threading.Event()
        self._consumer: Any = None
        self._is_begun = False

    def take(self, sender: Any = None, **_: Any) -> None:
        """Celery's `worker_ready`: from now on SIGQUIT is ours. `sender` is the consumer."""
        self._consumer = sender
        signal.signal(signal.SIGQUIT, self._hurried)

    def begin(self, **_: Any) -> None:
        """Celery's `worker_shutting_down`: nothing new is taken from now on."""
        if not self._is_begun:
            self._is_begun = True
            log.info("stopping", in_hand=len(state.active_requests), stop_s=self._stop_s)
            threading.Thread(target=self._run, daemon=True, name="drain").start()

    def _hurried(self, *_: Any) -> None:
        self._hurry.set()
        if state.should_stop is None:
            os.kill(os.getpid(), signal.SIGTERM)

    def _run(self) -> None:
        self._hurry.wait(self._stop_s)
        given = give_back(self._consumer)
        log.warning("stopped before all was done", given_back=given)
        for child in psutil.Process().children(recursive=True):
            child.kill()
        self._end(0)


def give_back(consumer: Any) -> int:
    """Put every message that this worker holds back into its queue; answers how many.

    What cannot be put back, as Redis is away, comes back once its visibility timeout is over.
    """
    try:
        qos = consumer.task_consumer.channel.qos
        held = dict(qos._delivered)
        _forget_starts(held.values())
        for tag in held:
            qos.restore_by_tag(tag, leftmost=True)
    except (RedisError, StorageDown, OSError, AttributeError) as error:
        log.warning("work not given back", reason=str(error))
        return 0
    return len(held)


def _forget_starts(held: Iterable[Any]) -> None:
    """A stop is no crash: what was started here does not count, or a run that three stops
    interrupt would be taken for one that kills workers."""
    started = {request.id for request in tuple(state.active_requests)}
    for message in held:
        if message.headers["id"] in started:
            [carried], *_ = message.payload
            stage = message.headers["task"]
            clients.state().do(records.forget_start(messages.refs(carried), stage))
