"""Stops a worker in bounded time: it finishes what it works on, or puts it back into the queue.

Celery's own warm shutdown waits without limit, and its cold and soft ones (celery#9213) cannot take
work away from threads.
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

from storage.errors import StorageDown
from storage.jobs import stages
from tasks import clients
from tasks import message as messages

log = structlog.get_logger()


class Drain:
    """Bounds Celery's warm shutdown: after `stop_s` seconds, or on SIGQUIT, the rest goes back."""

    def __init__(self, stop_s: float, end: Callable[[int], Any] = os._exit) -> None:
        """`end` is called with the exit code once the remaining messages have been put back."""
        self._stop_s, self._end = stop_s, end
        self._hurry = threading.Event()
        self._consumer: Any = None
        self._has_begun = False

    def watch(self, sender: Any = None, **_: Any) -> None:
        """Receiver of Celery's `worker_ready`: take over SIGQUIT. `sender` is the consumer."""
        self._consumer = sender
        signal.signal(signal.SIGQUIT, self._on_sigquit)

    def begin(self, **_: Any) -> None:
        """Receiver of Celery's `worker_shutting_down`: no more messages are taken from now on."""
        if not self._has_begun:
            self._has_begun = True
            log.info("stopping", in_progress=len(state.active_requests), stop_s=self._stop_s)
            threading.Thread(target=self._run, daemon=True, name="drain").start()

    def _on_sigquit(self, *_: Any) -> None:
        self._hurry.set()
        if state.should_stop is None:
            os.kill(os.getpid(), signal.SIGTERM)

    def _run(self) -> None:
        self._hurry.wait(self._stop_s)
        requeued = requeue_all(self._consumer)
        log.warning("stopped before all work was done", requeued=requeued)
        for child in psutil.Process().children(recursive=True):
            child.kill()
        self._end(0)


def requeue_all(consumer: Any) -> int:
    """Put every message that this worker holds back into its queue; answers how many.

    While Redis does not answer that cannot be done; the messages then come back once their
    visibility timeout is over.
    """
    try:
        qos = consumer.task_consumer.channel.qos
        # kombu has no public list of the messages that were delivered and not yet acknowledged.
        held = dict(qos._delivered)
        _forget_starts(held.values())
        for tag in held:
            qos.restore_by_tag(tag, leftmost=True)
    except (RedisError, StorageDown, OSError, AttributeError) as error:
        log.warning("messages not requeued", reason=str(error))
        return 0
    return len(held)


def _forget_starts(held: Iterable[Any]) -> None:
    """Do not count the starts of stages that are interrupted here.

    A stop is not a crash: a run that was interrupted by several stops would otherwise be taken for
    one that kills workers.
    """
    started = {request.id for request in tuple(state.active_requests)}
    for message in held:
        if message.headers["id"] in started:
            [carried], *_ = message.payload
            stage = message.headers["task"]
            refs, id = messages.run_refs(carried), message.headers["id"]
            clients.state().do(stages.forget_start(refs, stage, ticket=id))
