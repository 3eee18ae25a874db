"""The storage this process talks to, built once from the settings."""

from contextlib import suppress
from functools import cache as once
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

from storage import catalogue
from storage.errors import StorageDown
from storage.redis.calls import SyncRedis
from storage.s3.objects import FolderObjects, Objects, S3Objects
from storage.scratch import FolderScratch, HostScratch, RedisScratch, Scratch
from tasks.settings import settings

STATE_LIMIT_S = 1.2
"""A web process answers 503 rather than wait longer for the state Redis,"""
CACHE_LIMIT_S = 0.4
"""and does without the cache. One after the other and both silent: still within two seconds."""

TOGETHER_S = 5.0
"""How often a process looks whether workers have come that do not see its files."""


@once
def state() -> SyncRedis:
    """The state Redis, for workers: rides out a restart of it."""
    return SyncRedis(_worker_client(settings().state_url), "the state Redis")


@once
def results() -> SyncRedis:
    """The cache Redis, for workers: a run can do without it, so it is hardly waited for."""
    return SyncRedis(_worker_client(settings().cache_url, tries=1, timeout_s=1), "the cache Redis")


@once
def objects() -> Objects:
    """Where uploads, results and weights live."""
    url = urlsplit(settings().s3_url)
    if url.scheme == "file":
        return FolderObjects(Path(url.path))
    return S3Objects(
        settings().s3_url,
        key=settings().s3_key,
        secret=settings().s3_secret,
        bucket=settings().s3_bucket,
        region=settings().s3_region,
    )


@once
def scratch() -> Scratch:
    """Where arrays wait between stages: files while all workers see them, else Redis."""
    url = settings().scratch_url
    far = RedisScratch(redis.Redis.from_url(url, socket_timeout=5)) if url else None
    return HostScratch(FolderScratch(settings().scratch_dir), far, Together(host_id()))


@once
def host_id() -> str:
    """What tells whether other workers see our scratch files: see FolderScratch.host_id."""
    return FolderScratch(settings().scratch_dir).host_id()


def near() -> FolderScratch:
    """This host's files of arrays."""
    return FolderScratch(settings().scratch_dir)


class Together:
    """Whether all live workers see the scratch folder of `host_id`; asks the catalogue at times."""

    def __init__(self, host_id: str) -> None:
        self._host_id = host_id
        self._known, self._asked_at = True, -TOGETHER_S

    def __call__(self) -> bool:
        """What was so when it was last asked, at most TOGETHER_S ago."""
        if monotonic() - self._asked_at > TOGETHER_S:
            self._asked_at = monotonic()
            with suppress(StorageDown):  # then as before
                self._known = state().do(catalogue.read()).is_on_one_host(self._host_id)
        return self._known


def _worker_client(url: str, tries: int = 12, timeout_s: float = 5) -> "redis.Redis":
    retry = Retry(ExponentialBackoff(cap=1.0, base=0.1), tries, (ConnectionError, TimeoutError))
    limits = {"socket_timeout": timeout_s, "socket_connect_timeout": min(timeout_s, 2)}
    return redis.Redis.from_url(url, retry=retry, **limits)
