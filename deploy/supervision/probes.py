"""The liveness probes of each kind of program: web, HTTP servers, Redis, workers."""

import os
from collections.abc import Iterable
from time import monotonic

import httpx
import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from deploy.supervision.liveness import NoAnswer, Probe, Unhealthy, Unknown
from storage import catalogue, keys
from storage.catalogue import WorkerInfo
from storage.errors import StorageDown
from storage.redis.calls import TEXT, SyncRedis, command

ANSWER_S = 5.0
"""A probe that is not answered within this time has failed."""
MARGIN_S = 15.0
"""A worker has failed once its entry has been missing for so long while Redis answered."""


def web(url: str) -> Probe:
    """Asks a web process at `/healthz` whether its background loops run."""
    client = _http_client()

    def ask(pid: int) -> None:
        answer = _get(client, f"{url}/healthz")
        if answer.status_code == 503:
            raise Unhealthy(f"it reports: {'; '.join(answer.json().get('late', []))}")
        if answer.status_code != 200:
            raise Unhealthy(f"it answers with status {answer.status_code}")

    return Probe(ask)


def http_server(url: str) -> Probe:
    """Asks for any answer at all, a refusal included."""
    client = _http_client()

    def ask(pid: int) -> None:
        _get(client, url)

    return Probe(ask, misses=4)


def redis_server(url: str) -> Probe:
    """PINGs a Redis. One that is loading its data or runs a script says so, and is alive.

    It may miss several probes: a slow disk or a fork keeps it from answering for seconds.
    """
    client = impatient_redis(url, ANSWER_S)

    def ask(pid: int) -> None:
        try:
            client.ping()
        except ResponseError:
            return
        except (RedisError, OSError) as error:
            client.connection_pool.disconnect()
            raise NoAnswer(f"it does not answer PING: {error or type(error).__name__}") from error

    return Probe(ask, misses=6, start_s=600)


def worker(state_url: str, start_s: float) -> Probe:
    """Looks for the worker's entry in the catalogue, which each worker renews every few seconds."""
    state = SyncRedis(impatient_redis(state_url, ANSWER_S), "the state Redis")
    missing_since: dict[int, float] = {}
    host = os.uname().nodename

    def ask(pid: int) -> None:
        try:
            entry = _entry(state.do(catalogue.read()).workers, pid, host)
            if entry is None:
                _check_that_it_takes_writes(state)
        except StorageDown as error:
            missing_since.clear()
            raise Unknown(str(error)) from error
        if entry is None:
            missing_s = monotonic() - missing_since.setdefault(pid, monotonic())
            if missing_s > MARGIN_S:
                raise NoAnswer(f"it has been missing from the catalogue for {missing_s:.0f} s")
            raise Unknown("its entry may still come")
        missing_since.clear()
        if entry.get("late") and not entry.get("draining"):
            raise Unhealthy(f"it reports: {'; '.join(entry['late'])}")

    return Probe(ask, misses=1, start_s=start_s)


def impatient_redis(url: str, answer_s: float) -> "redis.Redis":
    """A client that waits `answer_s` for each answer and never asks twice."""
    return redis.Redis.from_url(
        url,
        socket_timeout=answer_s,
        socket_connect_timeout=answer_s,
        retry=Retry(NoBackoff(), 0),
    )


def _check_that_it_takes_writes(state: SyncRedis) -> None:
    """StorageDown while its disk or memory is full: then no worker can renew its entry."""
    state.do(command(bool, "SET", keys.PROBE, 1, "PX", 1000, kinds=TEXT))


def _entry(workers: Iterable[WorkerInfo], pid: int, host: str) -> WorkerInfo | None:
    own = (entry for entry in workers if (entry.get("pid"), entry.get("host")) == (pid, host))
    return next(own, None)


def _http_client() -> httpx.Client:
    # Keeps no connection open: the question is whether a new one is served.
    return httpx.Client(
        trust_env=False, timeout=ANSWER_S, limits=httpx.Limits(max_keepalive_connections=0)
    )


def _get(client: httpx.Client, url: str) -> httpx.Response:
    try:
        return client.get(url)
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise NoAnswer(f"{url} does not answer: {reason}") from error
