"""Fixtures for tests of the job service in their own process: pytest_plugins = ["job_service"].

A service on real Redis, S3 and queue, whose catalogue has a cpu worker and a gpu worker for `toy`.
"""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import redis

from storage import backlog_keys, catalogue
from storage.jobs import endings
from storage.jobs.endings import End
from storage.jobs.spec import RunRef
from storage.redis.calls import AsyncRedis, SyncRedis
from storage.s3.asynchronous import AsyncObjects
from storage.s3.objects import S3Objects
from tasks.models.base import Params
from web.jobs.service import JobService
from web.jobs.submission import Photo, Submission
from web.limits import STATE_LIMIT_S
from web.live.pubsub import PubSub

pytest_plugins = ["inprocess"]


class Toy(Params):
    gain: float = 1.5


CARD = {
    "name": "toy",
    "params": Toy.model_json_schema(),
    "weights": "sha256:w",
    "code": "sha256:c",
    "decode": "rgb",
    "cost_ms": {"a": 40.0, "b": 5.0},
    "max_batch": 8,
}
RESULT = '{"kind":"labels","data":{}}'


@pytest.fixture
def live(link: SyncRedis) -> None:
    """A cpu worker and a gpu worker that serves `toy`."""
    link.do(catalogue.announce("cpu-1@host", {"queues": ["cpu"]}, {}))
    link.do(catalogue.announce("gpu-1@host", {"queues": ["gpu.toy"]}, {"toy": CARD}))


@pytest.fixture
async def service(
    in_process: None, s3: S3Objects, state_url: str, cache_url: str
) -> AsyncIterator[JobService]:
    async with service_on(s3, state_url, cache_url) as (service, pubsub):
        pubsub.start()
        with pubsub.subscribed("warm-up") as subscription:
            await asyncio.wait_for(subscription.messages(), 5)
        yield service
        await pubsub.stop()


@pytest.fixture
async def other(
    in_process: None, s3: S3Objects, state_url: str, cache_url: str
) -> AsyncIterator[JobService]:
    """The service of another web process, in which nobody waits."""
    async with service_on(s3, state_url, cache_url) as (service, _):
        yield service


@pytest.fixture
def cache(cache_url: str) -> Iterator[SyncRedis]:
    """Does calls on the database of the cache."""
    with redis.Redis.from_url(cache_url) as client:
        yield SyncRedis(client)


@pytest.fixture
def submission() -> Submission:
    """A photo, bytes and all, that nobody has submitted before."""
    data = secrets.token_bytes(100)
    photo = Photo(f"{data.hex()}:body", len(data), data=data, media_type="image/png")
    return Submission("ada", "toy", photo)


@pytest.fixture
def queued(state: "redis.Redis") -> Callable[[], int]:
    """How many runs are in the backlog."""

    def count() -> int:
        return sum(state.zcard(name) for name in state.keys(backlog_keys.backlog("*", "*")))

    return count


@asynccontextmanager
async def service_on(
    s3: S3Objects, state_url: str, cache_url: str
) -> AsyncIterator[tuple[JobService, PubSub]]:
    """A service with connections of its own, and its pub/sub, which is not started."""
    state = AsyncRedis(state_url, "the state Redis", STATE_LIMIT_S)
    cache = AsyncRedis(cache_url, "the cache Redis", STATE_LIMIT_S)
    pubsub = PubSub(state_url)
    service = JobService(state, cache, AsyncObjects(s3, s3.url), pubsub)
    yield service, pubsub
    await service.close()


def finish(link: SyncRedis, key: str, state: str = "done", lasting: bool = False) -> None:
    """What a worker says at the end of a run."""
    payload = RESULT if state == "done" else '{"code":"no_image","message":"no image"}'
    [ended] = link.do(endings.finish([End(RunRef(key, 1), state, payload, lasting)], job_ttl_s=60))
    assert ended


def is_there(s3: S3Objects, key: str) -> bool:
    try:
        s3.stat(key)
    except FileNotFoundError:
        return False
    return True


def nobody() -> str:
    """An address on which no Redis listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"redis://127.0.0.1:{taken.getsockname()[1]}/0"
