"""What we add to Celery's consumer: signs of life for messages and worker, and lossless events."""

import threading
import time
from typing import Any

import redis
import structlog
from celery import bootsteps
from celery.worker.consumer import Consumer
from redis.exceptions import RedisError

from tasks.app import VISIBILITY_S

EVENT_FLUSH_S = 0.25
HELD_AT_MOST_S = 600
"""A message is kept from redelivery no longer than this, so that a hung worker is bounded."""

log = structlog.get_logger()


class LeanConsumer(Consumer):
    """Sends Celery's events four times a second instead of at every turn of its loop.

    Stock Celery publishes and clears its buffer at each turn with no lock around appends: with the
    threads pool it loses a third of the events, and it spends half as much CPU again.
    """

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
            _flush(self.event_dispatcher)


def _flush(dispatcher: Any) -> None:
    """Publish what is in the buffers now and drop exactly that: tasks append from their threads."""
    with dispatcher.mutex:
        for group, events in dispatcher._group_buffer.items():
            batch = events[: len(events)]
            dispatcher._publish(batch, dispatcher.producer, f"{group}.multi")
            del events[: len(batch)]
    for _ in range(len(dispatcher._outbound_buffer)):  # of a time without connection
        event, routing_key, _ = dispatcher._outbound_buffer.popleft()
        with dispatcher.mutex:
            dispatcher._publish(event, dispatcher.producer, routing_key)


class KeepMessages(bootsteps.StartStopStep):
    """Renews the visibility of every message this worker holds, so that long work is not redone."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Begin renewing, in a thread, every third of the visibility timeout."""
        self.stopping = threading.Event()
        threading.Thread(target=self._run, args=(consumer, self.stopping), daemon=True).start()

    def stop(self, consumer: Any) -> None:
        """Stop renewing: what is left unfinished goes back to the queue in time."""
        self.stopping.set()

    def terminate(self, consumer: Any) -> None:
        """The same, in a hurry."""
        self.stop(consumer)

    def _run(self, consumer: Any, stopping: threading.Event) -> None:
        client = redis.Redis.from_url(consumer.app.conf.broker_url, socket_timeout=2)
        held_since: dict[str, float] = {}
        while not stopping.wait(VISIBILITY_S / 3):
            try:
                held_since = _renew(client, consumer.task_consumer.channel, held_since)
            except (RedisError, OSError, AttributeError) as error:
                log.warning("messages not renewed", reason=str(error))


def _renew(client: Any, channel: Any, held_since: dict[str, float]) -> dict[str, float]:
    now = time.time()
    tags = list(channel.qos._delivered)
    held_since = {tag: held_since.get(tag, now) for tag in tags}
    scores = {tag: now for tag, since in held_since.items() if now - since < HELD_AT_MOST_S}
    if scores:
        prefix = channel.global_keyprefix
        client.zadd(prefix + channel.unacked_index_key, scores, xx=True)
    return held_since
