"""Takes out of the device's line what nobody waits for any more, as soon as that is said."""

from concurrent.futures import Future
from functools import cache as once
from typing import Any

import redis
import structlog
from redis.exceptions import RedisError

from storage import keys
from storage.jobs.spec import RunRef
from tasks.loops import ThreadLoop
from tasks.settings import settings

LISTEN_S = 5.0
"""So often the connection is looked at, if nothing comes."""
PAUSE_S = 0.5
ALLOWED_S = 60.0

log = structlog.get_logger()


class Unwanted:
    """One thread that listens; a message it misses costs no more than the next renewal's delay."""

    def __init__(self, url: str) -> None:
        self._waiting: dict[str, Future[Any]] = {}
        # A reader that waits must have no read timeout; pings find a dead connection.
        link = redis.Redis.from_url(
            url, socket_timeout=None, socket_connect_timeout=5, health_check_interval=10
        )
        self._client: Any = link  # redis-py does not type pubsub
        self._stream: Any = None
        self.loop = ThreadLoop("unwanted", self._listen, every_s=0, allowed_s=ALLOWED_S)
        self.loop.start()

    def watch(self, ref: RunRef, future: "Future[Any]") -> None:
        """Cancel the future when nobody wants the run any more."""
        name = f"{ref.key}:{ref.attempt}"
        self._waiting[name] = future
        future.add_done_callback(lambda _: self._waiting.pop(name, None))

    def _listen(self) -> None:
        """Take what comes within LISTEN_S."""
        try:
            self._take(self._subscribed().get_message(timeout=LISTEN_S))
        except (RedisError, OSError) as error:
            log.warning("cancellations not heard", reason=str(error))
            self._leave()
            self.loop.stopping.wait(PAUSE_S)
        except BaseException:
            self._leave()
            raise

    def _subscribed(self) -> Any:
        """The stream, after a failure a new one."""
        if self._stream is None:
            self._stream = self._client.pubsub(ignore_subscribe_messages=True)
            self._stream.subscribe(keys.UNWANTED)
        elif self._stream.health_check_response_counter > 1:
            raise ConnectionError("the state Redis does not answer pings")
        return self._stream

    def _take(self, found: Any) -> None:
        future = found and self._waiting.get(found["data"].decode())
        if future:
            future.cancel()

    def _leave(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


@once
def unwanted() -> Unwanted:
    """This process's listener, started by the first run that goes to the device."""
    return Unwanted(settings().state_url)
