"""Notices that the state Redis has lost everything, and prepares it again."""

import time
from collections.abc import Callable

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from storage import keys
from storage.errors import StorageDown

EVERY_S = 2.0
ANSWER_S = 0.5
"""A Redis that hangs holds up the supervisor no longer than this."""


class EmptiedState:
    """A chore of the supervisor: looks for one key, and calls `prepare` when it is gone."""

    def __init__(self, url: str, prepare: Callable[[], object], say: Callable[[str], None]) -> None:
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._prepare, self._say = prepare, say
        self._looked_s = 0.0

    def look(self) -> None:
        """Look, if that was not done lately. A Redis or S3 that is away is tried again."""
        if time.monotonic() - self._looked_s < EVERY_S:
            return
        self._looked_s = time.monotonic()
        try:
            if self._client.exists(keys.PREPARED):
                return
            self._prepare()
        except (redis.RedisError, OSError, StorageDown):
            return
        self._say(
            "the state Redis was empty: account and API key of this installation are made again, "
            "jobs are gone, results are kept. Other accounts: `pixelmill restore FILE`"
        )
