"""The storage clients of this process, each built once from the settings."""

from contextlib import suppress
from functools import cache as once
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

from storage import catalogue, schema
from storage.errors import OldLayout, StorageDown
from storage.redis.calls import SyncRedis
from storage.s3.folder import FolderObjects
from storage.s3.objects import Objects, S3Objects
from storage.scratch import FolderScratch, HostScratch, RedisScratch, Scratch
from tasks.settings import Settings, settings

REFRESH_S = 5.0
"""How often a process looks for workers that cannot read its scratch files."""
START_LIMIT_S = 1.2
"""How long a process that starts waits for the state Redis to say whether it can be used."""


@once
def state() -> SyncRedis:
    """The state Redis, for workers: calls wait while it restarts."""
    return SyncRedis(_worker_client(settings().state_url), "the state Redis")


def refuse_old_layout(program: str) -> None:
    """End this process, at its start, if an earlier Pixelmill wrote the state Redis' records.

    A Redis that does not answer yet is not waited for.
    """
    client = _worker_client(settings().state_url, tries=0, timeout_s=START_LIMIT_S)
    try:
        schema.refuse_old_layout(SyncRedis(client, "the state Redis"))
    except OldLayout as error:
        raise SystemExit(f"{program}: {error}") from error
    except StorageDown:
        pass
    finally:
        client.close()


@once
def results() -> SyncRedis:
    """The cache Redis, for workers. A run works without it, so calls hardly wait for it."""
    return SyncRedis(_worker_client(settings().cache_url, tries=1, timeout_s=1), "the cache Redis")


@once
def objects() -> Objects:
    """The store of uploads, results and weights."""
    return objects_of(settings())


def objects_of(given: Settings, **options: float) -> Objects:
    """The store that these settings name. `options`: what `S3Objects` takes besides."""
    url = urlsplit(given.s3_url)
    return FolderObjects(Path(url.path)) if url.scheme == "file" else s3_of(given, **options)


def s3_of(given: Settings, **options: float) -> S3Objects:
    """The same, which is no folder."""
    return S3Objects(
        given.s3_url,
        key=given.s3_key,
        secret=given.s3_secret,
        bucket=given.s3_bucket,
        region=given.s3_region,
        ca_file=given.s3_ca_file,
        **options,
    )


@once
def scratch() -> Scratch:
    """The store of arrays between stages: files while all workers can read them, else Redis."""
    url = settings().scratch_url
    remote = RedisScratch(redis.Redis.from_url(url, socket_timeout=5)) if url else None
    return HostScratch(local_scratch(), remote, OnOneHost(host_id()))


@once
def host_id() -> str:
    """Equal in all workers that can read our scratch files; see FolderScratch.host_id."""
    return local_scratch().host_id()


def local_scratch() -> FolderScratch:
    """The scratch folder of this host."""
    return FolderScratch(settings().scratch_dir)


class OnOneHost:
    """Whether all live workers can read the scratch files of `host_id`, by the catalogue."""

    def __init__(self, host_id: str) -> None:
        self._host_id = host_id
        self._answer, self._asked_at = True, -REFRESH_S

    def __call__(self) -> bool:
        """The answer of at most REFRESH_S ago."""
        if monotonic() - self._asked_at > REFRESH_S:
            self._asked_at = monotonic()
            with suppress(StorageDown):  # the previous answer stays
                self._answer = state().do(catalogue.read()).is_on_one_host(self._host_id)
        return self._answer


def _worker_client(url: str, tries: int = 12, timeout_s: float = 5) -> "redis.Redis":
    retry = Retry(ExponentialBackoff(cap=1.0, base=0.1), tries, (ConnectionError, TimeoutError))
    limits = {"socket_timeout": timeout_s, "socket_connect_timeout": min(timeout_s, 2)}
    return redis.Redis.from_url(url, retry=retry, **limits)
