"""The storage this process talks to, built once from the settings."""

from functools import cache as once
from pathlib import Path
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ConstantBackoff, ExponentialBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

from storage.calls import Async, Sync
from storage.objects import FolderObjects, Objects, S3Objects
from storage.scratch import FolderScratch, RedisScratch, Scratch
from tasks.settings import settings

STATE_LIMIT_S = 1.2
"""A web process answers 503 rather than wait longer for the state Redis,"""
CACHE_LIMIT_S = 0.4
"""and does without the cache. One after the other and both silent: still within two seconds."""


@once
def state() -> Sync:
    """The state Redis, for workers: rides out a restart of it."""
    return Sync(_worker_client(settings().state_url), "the state Redis")


@once
def results() -> Sync:
    """The cache Redis, for workers: a run can do without it, so it is hardly waited for."""
    return Sync(_worker_client(settings().cache_url, tries=1, timeout_s=1), "the cache Redis")


def web_link(url: str, name: str, limit_s: float = STATE_LIMIT_S) -> Async:
    """An asyncio link for a web process: waits for a free connection, answers soon or fails."""
    # One immediate retry heals a connection that a Redis restart has closed.
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=64,
        timeout=limit_s,
        socket_timeout=limit_s,
        socket_connect_timeout=limit_s,
        retry=AsyncRetry(ConstantBackoff(0.05), 1, (ConnectionError,)),
    )
    return Async(redis.asyncio.Redis(connection_pool=pool), name, limit_s)


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
    """Where arrays wait between stages."""
    if settings().scratch_url:
        return RedisScratch(redis.Redis.from_url(settings().scratch_url, socket_timeout=5))
    return FolderScratch(settings().scratch_dir)


def _worker_client(url: str, tries: int = 12, timeout_s: float = 5) -> "redis.Redis":
    retry = Retry(ExponentialBackoff(cap=1.0, base=0.1), tries, (ConnectionError, TimeoutError))
    limits = {"socket_timeout": timeout_s, "socket_connect_timeout": min(timeout_s, 2)}
    return redis.Redis.from_url(url, retry=retry, **limits)
