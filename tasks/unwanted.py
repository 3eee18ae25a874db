"""Takes out of the device's line what nobody waits for any more, as soon as that is said."""

import threading
import time
from concurrent.futures import Future
from functools import cache as once
from typing import Any

import redis
import structlog
from redis.exceptions import RedisError

from storage import keys
from storage.records import Ref
from tasks.settings import settings

log = structlog.get_logger()


class Unwanted:
    """One thread that listens; a message it misses costs no more than the next renewal's delay."""

    def __init__(self, url: str) -> None:
        self._waiting: dict[str, Future[Any]] = {}
        # A reader that waits must have no read timeout; the health check finds a dead connection.
        link = redis.Redis.from_url(url, socket_timeout=None, health_check_interval=10)
        self._client: Any = link  # redis-py does not type pubsub
        threading.Thread(target=self._run, daemon=True, name="unwanted").start()

    def watch(self, ref: Ref, future: "Future[Any]") -> None:
        """Cancel the future when nobody wants the run any more."""
        name = f"{ref.key}:{ref.n}"
        self._waiting[name] = future
        future.add_done_callback(lambda _: self._waiting.pop(name, None))

    def _run(self) -> None:
        while True:
            try:
                self._listen()
            except (RedisError, OSError) as error:
                log.warning("cancellations not heard", reason=str(error))
                time.sleep(0.5)

    def _listen(self) -> None:
        with self._client.pubsub(ignore_subscribe_messages=True) as stream:
            stream.subscribe(keys.UNWANTED)
            for found in stream.listen():
                future = self._waiting.get(found["data"].decode())
                if future:
                    future.cancel()


@once
def unwanted() -> Unwanted:
    """This process's listener, started by the first run that goes to the device."""
    return Unwanted(settings().state_url)
