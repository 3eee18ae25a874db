"""Takes cancelled runs out of the device's queue as soon as they are cancelled."""

from concurrent.futures import Future
from typing import Any

import redis
import structlog
from redis.exceptions import RedisError

from storage import keys
from storage.jobs.spec import RunRef
from tasks.loops import Periodic

LISTEN_S = 5.0
"""Longest wait for a message before the connection itself is checked."""
PAUSE_S = 0.5
MAX_AGE_S = 60.0

log = structlog.get_logger()


class Cancellations:
    """One thread that listens to the state Redis.

    A missed message costs no more than the time until the run's next heartbeat.
    """

    def __init__(self, url: str) -> None:
        self._futures: dict[str, Future[Any]] = {}
        # A subscriber that waits must have no read timeout; pings detect a dead connection.
        client = redis.Redis.from_url(
            url, socket_timeout=None, socket_connect_timeout=5, health_check_interval=10
        )
        self._client: Any = client  # redis-py does not type pubsub
        self._subscription: Any = None
        self.periodic = Periodic("cancellations", self._listen, every_s=0, max_age_s=MAX_AGE_S)

    def start(self) -> None:
        """Start listening."""
        self.periodic.start()

    def watch(self, ref: RunRef, future: "Future[Any]") -> None:
        """Cancel the future when its run is cancelled."""
        name = f"{ref.key}:{ref.attempt}"
        self._futures[name] = future
        future.add_done_callback(lambda _: self._futures.pop(name, None))

    def _listen(self) -> None:
        """Handle at most one message within LISTEN_S."""
        try:
            self._handle(self._subscribed().get_message(timeout=LISTEN_S))
        except (RedisError, OSError) as error:
            log.warning("cancellations not received", reason=str(error))
            self._unsubscribe()
            self.periodic.stopping.wait(PAUSE_S)
        except BaseException:
            self._unsubscribe()
            raise

    def _subscribed(self) -> Any:
        """The subscription; a new one after a failure."""
        if self._subscription is None:
            self._subscription = self._client.pubsub(ignore_subscribe_messages=True)
            self._subscription.subscribe(keys.CANCELLED)
        elif self._subscription.health_check_response_counter > 1:
            raise ConnectionError("the state Redis does not answer pings")
        return self._subscription

    def _handle(self, message: Any) -> None:
        future = message and self._futures.get(message["data"].decode())
        if future:
            future.cancel()

    def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()
