"""Fixtures for tests that call the code in their own process: pytest_plugins = ["inprocess"].

They use databases of the real Redis that no other test looks into, emptied before each test.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kombu import pools
from stack import Stack

from storage.redis.calls import SyncRedis
from storage.s3.objects import S3Objects
from tasks import clients
from tasks.app import app
from tasks.settings import settings

DATABASE = 9


@pytest.fixture
def state_url(servers: Stack) -> Iterator[str]:
    """An empty database of the state Redis."""
    yield from _emptied(servers, "state")


@pytest.fixture
def cache_url(servers: Stack) -> Iterator[str]:
    """An empty database of the cache Redis."""
    yield from _emptied(servers, "cache")


@pytest.fixture
def state(state_url: str) -> Iterator["redis.Redis"]:
    """A client of that database, to look and to meddle."""
    with redis.Redis.from_url(state_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def link(state_url: str) -> Iterator[SyncRedis]:
    """Does calls on that database."""
    with redis.Redis.from_url(state_url) as client:
        yield SyncRedis(client)


@pytest.fixture
def s3(servers: Stack) -> S3Objects:
    """The bucket of the real S3 server."""
    return S3Objects(
        servers.env["PIXELMILL_S3_URL"],
        key=servers.env["PIXELMILL_S3_KEY"],
        secret=servers.env["PIXELMILL_S3_SECRET"],
        bucket="pixelmill",
        region="us-east-1",
    )


@pytest.fixture
def in_process(
    servers: Stack,
    state_url: str,
    cache_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """This process's settings, storage and queue are those of the servers."""
    for name, value in servers.env.items():
        if name.startswith("PIXELMILL_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("PIXELMILL_STATE_URL", state_url)
    monkeypatch.setenv("PIXELMILL_CACHE_URL", cache_url)
    monkeypatch.setenv("PIXELMILL_SCRATCH_DIR", str(tmp_path))
    broker_before = app.conf.broker_url
    _forget()
    _broker(state_url)
    yield
    _broker(broker_before)
    _forget()


def _broker(url: str) -> None:
    """Let Celery speak to this Redis from now on."""
    pools.reset()
    app.conf.broker_url = url
    app._pool = app.amqp._producer_pool = None


def _forget() -> None:
    for once in (
        clients.state,
        clients.results,
        clients.objects,
        clients.scratch,
        clients.host_id,
    ):
        once.cache_clear()
    settings.cache_clear()


def _emptied(servers: Stack, name: str) -> Iterator[str]:
    url = f"redis://127.0.0.1:{servers.ports[name]}/{DATABASE}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()
