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

WEB_TIMEOUT_S = 1.5
"""A web process answers 503 rather than wait longer for Redis."""


@once
def state() -> Sync:
    """The state Redis, for workers: rides out a restart of it."""
    return Sync(_worker_client(settings().state_url), "the state Redis")


@once
def results() -> Sync:
    """The cache Redis, for workers: a run can do without it, so it is not waited for."""
    return Sync(_worker_client(settings().cache_url, tries=2), "the cache Redis")


def web_link(url: str, name: str) -> Async:
    """An asyncio link for a web process: waits for a free connection, answers soon or fails."""
    # One immediate retry heals a connection that a Redis restart has closed.
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=64,
        timeout=WEB_TIMEOUT_S,
        socket_timeout=WEB_TIMEOUT_S,
        socket_connect_timeout=WEB_TIMEOUT_S,
        retry=AsyncRetry(ConstantBackoff(0.05), 1, (ConnectionError,)),
    )
    return Async(redis.asyncio.Redis(connection_pool=pool), name)


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


def _worker_client(url: str, tries: int = 12) -> "redis.Redis":
    retry = Retry(ExponentialBackoff(cap=1.0, base=0.1), tries, (ConnectionError, TimeoutError))
    return redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=2, retry=retry)
