"""What we change in Celery's consumer: message renewal, fewer and complete events, old timers.

Each class names the upstream issue that it works around, or says why Celery has nothing for it.
"""

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
from tasks.loops import Periodic

EVENT_FLUSH_S = 0.25
FORGET_S = 5.0
RENEW_ALLOWED_S = 90.0
"""This worker counts as dead if it has not renewed for so long: its messages are redelivered."""
MAX_HELD_S = 600
"""A message is kept from redelivery for at most this time, so that a worker that hangs does not
hold it for ever."""

log = structlog.get_logger()


class LosslessDispatcher(EventDispatcher):
    """Publishes what is in its buffers, then removes exactly what it has published.

    Celery 5.6 publishes a buffer and then clears it. With the threads pool that drops the events
    that were appended in between (celery#10434), and, after a connection was lost, those that could
    not be published again either (celery#6487). The buffers have no public names.
    """

    mutex: Any
    producer: Any
    _publish: Any
    _group_buffer: Any
    _outbound_buffer: Any

    def flush(self, errors: bool = True, groups: bool = True) -> None:
        """Publish what is in the buffers; other threads may append meanwhile."""
        with self.mutex:
            for group, events in self._group_buffer.items() if groups else ():
                batch = events[: len(events)]
                if batch:
                    self._publish(batch, self.producer, f"{group}.multi")
                del events[: len(batch)]
            # Events that a lost connection has left.
            for _ in range(len(self._outbound_buffer) if errors else 0):
                # Celery 5.6 stores three fields, 5.7 two.
                event, routing_key = self._outbound_buffer.popleft()[:2]
                self._publish(event, self.producer, routing_key)


class LeanConsumer(Consumer):
    """Publishes Celery's events every EVENT_FLUSH_S seconds.

    Celery does so at every turn of its event loop, which at our rates is one message per event.
    There is no setting for that, and no upstream issue.
    """

    hub: Any
    event_dispatcher: Any
    _flush_timer: Any = None

    def on_send_event_buffered(self) -> None:  # type: ignore[override]  # the stub is mistaken
        """Schedule a flush unless one is scheduled already."""
        if self.hub and self._flush_timer is None:
            self._flush_timer = self.hub.call_later(EVENT_FLUSH_S, self._flush_later)

    def _flush_later(self) -> None:
        self._flush_timer = None
        if self.event_dispatcher:
            self.event_dispatcher.flush()


class ForgetTimers(bootsteps.StartStopStep):
    """Drops timers that were cancelled.

    Celery starts a timer for the time limit of each message and cancels it when the message is
    done, but kombu keeps cancelled timers, and the messages that they refer to, until they are due:
    here the traffic of minutes (celery#1129, celery#5200).
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)
    _repeated: Any = None

    def start(self, consumer: Any) -> None:
        """Begin, if the worker has an event loop, as one with the prefork pool has."""
        if consumer.hub:
            self._repeated = consumer.hub.call_repeatedly(
                FORGET_S, forget_cancelled, consumer.hub.timer
            )

    def stop(self, consumer: Any) -> None:
        """The connection is lost, or the worker stops."""
        if self._repeated:
            self._repeated.cancel()

    def terminate(self, consumer: Any) -> None:
        """The worker stops at once."""
        self.stop(consumer)


def forget_cancelled(timer: Timer) -> None:
    """Remove cancelled entries from kombu's timer.

    kombu has no public way to do this. The list is changed in place, since kombu's event loop holds
    a reference to it.
    """
    timer._queue[:] = [event for event in timer._queue if not event.entry.canceled]
    heapq.heapify(timer._queue)


class KeepMessages(bootsteps.StartStopStep):
    """Renews the visibility of every message that this worker holds.

    kombu redelivers each message that was not acknowledged within the visibility timeout, also one
    that is still being worked on (celery#5935, kombu#337). With renewals the timeout can be short,
    so that messages of a worker that was killed come back soon.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)
    _loop: Periodic | None = None

    def start(self, consumer: Any) -> None:
        """Begin renewing, from a thread, three times per visibility timeout."""
        client = redis.Redis.from_url(consumer.app.conf.broker_url, socket_timeout=2)
        held_since: dict[str, float] = {}

        def renew() -> None:
            nonlocal held_since
            try:
                held_since = _renew(client, consumer.task_consumer.channel, held_since)
            except (RedisError, OSError, AttributeError) as error:
                log.warning("messages not renewed", reason=str(error))

        self._loop = Periodic(
            "keep messages", renew, every_s=VISIBILITY_S / 3, max_age_s=RENEW_ALLOWED_S
        )
        self._loop.start()

    def stop(self, consumer: Any) -> None:
        """Stop renewing if the connection is lost; the next `start` begins again.

        A worker that is stopping goes on renewing until all that it holds is done.
        """
        if self._loop and state.should_stop is None:
            self._loop.stop()

    def terminate(self, consumer: Any) -> None:
        """Stop renewing: messages that are not done are redelivered."""
        if self._loop:
            self._loop.stop()


def _renew(client: Any, channel: Any, held_since: dict[str, float]) -> dict[str, float]:
    """Renew the messages of this channel; answers tag -> since when each has been held.

    The tags of delivered messages have no public name in kombu.
    """
    now = time.time()
    tags = list(channel.qos._delivered)
    held_since = {tag: held_since.get(tag, now) for tag in tags}
    scores = {tag: now for tag, since in held_since.items() if now - since < MAX_HELD_S}
    if scores:
        prefix = channel.global_keyprefix
        client.zadd(prefix + channel.unacked_index_key, scores, xx=True)
    return held_since
