"""What we add to Celery's consumer: signs of life for messages and worker, and lossless events."""

import heapq
import time
from typing import Any

import redis
import structlog
from celery import bootsteps
from celery.events import EventDispatcher
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu.asynchronous.timer import Timer
from redis.exceptions import RedisError

from tasks.app import VISIBILITY_S
from tasks.loops import ThreadLoop

EVENT_FLUSH_S = 0.25
FORGET_S = 5.0
RENEWED_S = 90.0
"""Age of the last renewal above which this worker counts as dead: its messages are redelivered."""
HELD_AT_MOST_S = 600
"""A message is kept from redelivery no longer than this, so that a hung worker is bounded."""

log = structlog.get_logger()


class LosslessDispatcher(EventDispatcher):
    """Publishes what is in its buffers and drops exactly that.

    Stock Celery publishes, then clears: with the threads pool it drops what was appended meanwhile,
    a third of all events at full speed.
    """

    mutex: Any
    producer: Any
    _publish: Any
    _group_buffer: Any
    _outbound_buffer: Any

    def flush(self, errors: bool = True, groups: bool = True) -> None:
        """Send what has gathered; safe while other threads append."""
        with self.mutex:
            for group, events in self._group_buffer.items() if groups else ():
                batch = events[: len(events)]
                if batch:
                    self._publish(batch, self.producer, f"{group}.multi")
                del events[: len(batch)]
            for _ in range(len(self._outbound_buffer) if errors else 0):  # of a lost connection
                # Celery 5.6 adds the error, 5.7 does not.
                event, routing_key = self._outbound_buffer.popleft()[:2]
                self._publish(event, self.producer, routing_key)


class LeanConsumer(Consumer):
    """Sends Celery's events four times a second, not at every turn of its loop."""

    hub: Any
    event_dispatcher: Any
    _flush_due: Any = None

    def on_send_event_buffered(self) -> None:  # type: ignore[override]  # the stub is mistaken
        """Ask for one flush a little later, unless one is due already."""
        if self.hub and self._flush_due is None:
            self._flush_due = self.hub.call_later(EVENT_FLUSH_S, self._flush_later)

    def _flush_later(self) -> None:
        self._flush_due = None
        if self.event_dispatcher:
            self.event_dispatcher.flush()


class ForgetTimers(bootsteps.StartStopStep):
    """Drops timers that were called off.

    Celery sets one a message for its hard limit, and kombu keeps it until then: minutes of traffic.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)
    _repeated: Any = None

    def start(self, consumer: Any) -> None:
        """Begin, where the worker has an event loop: prefork."""
        if consumer.hub:
            self._repeated = consumer.hub.call_repeatedly(
                FORGET_S, forget_cancelled, consumer.hub.timer
            )

    def stop(self, consumer: Any) -> None:
        """The loop goes on without."""
        if self._repeated:
            self._repeated.cancel()

    def terminate(self, consumer: Any) -> None:
        """The same, in a hurry."""
        self.stop(consumer)


def forget_cancelled(timer: Timer) -> None:
    """In place, as the loop holds on to the very list."""
    timer._queue[:] = [event for event in timer._queue if not event.entry.canceled]
    heapq.heapify(timer._queue)


class KeepMessages(bootsteps.StartStopStep):
    """Renews the visibility of every message this worker holds, so that long work is not redone."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    _loop: ThreadLoop | None = None

    def start(self, consumer: Any) -> None:
        """Begin renewing, in a thread, every third of the visibility timeout."""
        client = redis.Redis.from_url(consumer.app.conf.broker_url, socket_timeout=2)
        held_since: dict[str, float] = {}

        def renew() -> None:
            nonlocal held_since
            try:
                held_since = _renew(client, consumer.task_consumer.channel, held_since)
            except (RedisError, OSError, AttributeError) as error:
                log.warning("messages not renewed", reason=str(error))

        self._loop = ThreadLoop(
            "keep messages", renew, every_s=VISIBILITY_S / 3, allowed_s=RENEWED_S
        )
        self._loop.start()

    def stop(self, consumer: Any) -> None:
        """Stop renewing as the connection is lost: another loop will begin.

        A worker that is told to stop goes on renewing until all it holds is done.
        """
        if self._loop and state.should_stop is None:
            self._loop.stop()

    def terminate(self, consumer: Any) -> None:
        """What is left unfinished goes back to the queue in time."""
        if self._loop:
            self._loop.stop()


def _renew(client: Any, channel: Any, held_since: dict[str, float]) -> dict[str, float]:
    now = time.time()
    tags = list(channel.qos._delivered)
    held_since = {tag: held_since.get(tag, now) for tag in tags}
    scores = {tag: now for tag, since in held_since.items() if now - since < HELD_AT_MOST_S}
    if scores:
        prefix = channel.global_keyprefix
        client.zadd(prefix + channel.unacked_index_key, scores, xx=True)
    return held_since
