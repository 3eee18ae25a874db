"""Notices that the state Redis has lost everything, and prepares it again."""

import time
from collections.abc import Callable

import redis

from deploy.supervision.probes import impatient_redis
from storage import keys
from storage.errors import StorageDown

EVERY_S = 2.0
ANSWER_S = 0.5
"""A Redis that hangs holds up the supervisor no longer than this."""


class StateLoss:
    """Looks for the key that `bootstrap.prepare` sets last; if it is missing, prepares again."""

    def __init__(
        self, url: str, prepare: Callable[[], object], report: Callable[[str], None]
    ) -> None:
        self._client = impatient_redis(url, ANSWER_S)
        self._prepare, self._report = prepare, report
        self._checked_s = 0.0

    def check(self) -> None:
        """Check if EVERY_S have passed. If Redis or S3 is unavailable, a later call tries again."""
        if time.monotonic() - self._checked_s < EVERY_S:
            return
        self._checked_s = time.monotonic()
        try:
            if self._client.exists(keys.PREPARED):
                return
            self._prepare()
        except (redis.RedisError, OSError, StorageDown):
            return
        self._report(
            "the state Redis was empty. The account and API key of this installation were made "
            "again; jobs are lost, results are kept. `pixelmill restore FILE` brings other "
            "accounts back"
        )
