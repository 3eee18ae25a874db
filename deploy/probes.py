"""Whether a program that runs also works: it is asked, each from a thread of its own.

One that answers badly, or not at all, several times in a row is replaced by the supervisor. Nothing
is held against a program before it has worked once, until its time to start is over.
"""

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import httpx
import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from storage import catalogue, keys
from storage.errors import StorageDown
from storage.redis.calls import TEXT, SyncRedis, command
from tasks.loops import Periodic

ANSWER_S = 5.0
"""A probe that is not answered within this time has missed."""
EVERY_S = 2.0
UNWELL_EVERY_S = 600.0
"""A program that answers and calls itself unwell is replaced no more often than this: where the
first replacement did not help, further ones would only add outages."""
MARGIN_S = 15.0
"""A worker is missing only if its entry has been gone from an answering Redis for so long."""

Ask = Callable[[int], None]
"""Asks the program that runs with this pid. Raises Silent or Unwell unless it works, and Unknown
when that cannot be told."""


class Silent(Exception):
    """It does not answer."""


class Unwell(Exception):
    """It answers that it does not work."""


class Unknown(Exception):
    """Something else is away, without which nothing can be said of it."""


@dataclass(frozen=True)
class Probe:
    """How one program is asked, and how patiently."""

    ask: Ask
    misses: int = 3
    """In a row, EVERY_S apart, until it is replaced."""
    start_s: float = 120.0
    """Time to start: before it has worked once, nothing is held against it for so long."""


class Verdict:
    """What the probes of one program have found. The supervisor reads, a thread writes."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._pid, self._since, self._has_worked, self._misses = 0, monotonic(), False, 0
        self._replaced_at = float("-inf")
        self.reason = ""
        """Why it has to be replaced; empty while it works."""

    def look(self, pid: int) -> None:
        """Ask the program that has this pid now."""
        if pid != self._pid:
            self._pid, self._since, self._has_worked = pid, monotonic(), False
            self._misses, self.reason = 0, ""
        try:
            self._probe.ask(pid)
        except Unknown:
            self._misses = 0
        except (Silent, Unwell) as error:
            self._miss(error)
        else:
            self._has_worked, self._misses, self.reason = True, 0, ""

    def replaced(self) -> None:
        """It has been told to end; the next one has another pid."""
        self._replaced_at, self._misses, self.reason = monotonic(), 0, ""
        self._since, self._has_worked = monotonic(), False

    def _miss(self, error: Exception) -> None:
        is_starting = not self._has_worked and monotonic() - self._since < self._probe.start_s
        is_vain = isinstance(error, Unwell) and monotonic() - self._replaced_at < UNWELL_EVERY_S
        if is_starting or is_vain:
            return
        self._misses += 1
        if self._misses >= self._probe.misses:
            self.reason = str(error)


class Probes:
    """Asks all programs that it is told of, until it is stopped."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        """`pids`: name -> pid of what runs now."""
        self._pids = pids
        self._verdicts: dict[str, Verdict] = {}
        self._loops: list[Periodic] = []
        self._stopped = threading.Event()

    def add(self, name: str, probe: Probe) -> None:
        """Ask this program from now on."""
        self._verdicts[name] = Verdict(probe)
        loop = Periodic(
            f"probe of {name}", lambda: self._look(name), every_s=EVERY_S, max_age_s=300
        )
        self._loops.append(loop)
        loop.start()

    def why_replace(self, name: str) -> str:
        """Why the program that runs under this name has to be replaced; empty while it works."""
        verdict = self._verdicts.get(name)
        return verdict.reason if verdict and not self._stopped.is_set() else ""

    def replaced(self, name: str) -> None:
        """The program of this name has been told to end."""
        self._verdicts[name].replaced()

    def stop(self) -> None:
        """Ask no more, and have nothing replaced."""
        self._stopped.set()
        for loop in self._loops:
            loop.stop()

    def _look(self, name: str) -> None:
        pid = self._pids().get(name)
        if pid is not None:
            self._verdicts[name].look(pid)


def of_page(url: str) -> Probe:
    """Asks a web process whether its own loops turn."""
    client = _client()

    def ask(pid: int) -> None:
        answer = _get(client, f"{url}/healthz")
        if answer.status_code == 503:
            raise Unwell(f"it says: {'; '.join(answer.json().get('late', []))}")
        if answer.status_code != 200:
            raise Unwell(f"it answers {answer.status_code}")

    return Probe(ask)


def of_http(url: str) -> Probe:
    """Asks for any answer at all."""
    client = _client()

    def ask(pid: int) -> None:
        _get(client, url)

    return Probe(ask, misses=4)


def of_redis(url: str) -> Probe:
    """PINGs a Redis. One that loads its data, or is busy with a script, answers so, and is alive.

    Patiently: a disk that does not keep up, or a fork, keeps it from answering for seconds.
    """
    client = redis_client(url, ANSWER_S)

    def ask(pid: int) -> None:
        try:
            client.ping()
        except ResponseError:
            return
        except (RedisError, OSError) as error:
            client.connection_pool.disconnect()
            raise Silent(f"it does not answer PING: {error or type(error).__name__}") from error

    return Probe(ask, misses=6, start_s=600)


def of_worker(state_url: str, start_s: float) -> Probe:
    """Looks a worker up in the catalogue, while the state Redis answers."""
    link = SyncRedis(redis_client(state_url, ANSWER_S), "the state Redis")
    missing: dict[int, float] = {}
    host = os.uname().nodename

    def ask(pid: int) -> None:
        try:
            workers = link.do(catalogue.read()).workers
        except StorageDown as error:
            missing.clear()
            raise Unknown(str(error)) from error
        entry = _entry(workers, pid, host)
        if entry is None:
            _check_writes(link, missing)
            gone_s = monotonic() - missing.setdefault(pid, monotonic())
            if gone_s > MARGIN_S:
                raise Silent(f"it has not announced itself for {gone_s:.0f} s")
            raise Unknown("its entry may come")
        missing.clear()
        if entry.get("late") and not entry.get("draining"):
            raise Unwell(f"it says: {'; '.join(entry['late'])}")

    return Probe(ask, misses=1, start_s=start_s)


def _check_writes(link: SyncRedis, missing: dict[int, float]) -> None:
    """Unknown while its disk or memory is full: then nobody can announce anything."""
    try:
        link.do(command(bool, "SET", keys.PROBE, 1, "PX", 1000, kinds=TEXT))
    except StorageDown as error:
        missing.clear()
        raise Unknown(str(error)) from error


def _entry(workers: tuple[Mapping[str, Any], ...], pid: int, host: str) -> Mapping[str, Any] | None:
    own = [one for one in workers if one.get("pid") == pid and one.get("host") == host]
    return own[0] if own else None


def _client() -> httpx.Client:
    # A connection each: what is to be found out is whether a new one is served.
    return httpx.Client(
        trust_env=False, timeout=ANSWER_S, limits=httpx.Limits(max_keepalive_connections=0)
    )


def _get(client: httpx.Client, url: str) -> httpx.Response:
    try:
        return client.get(url)
    except httpx.HTTPError as error:
        raise Silent(f"{url} does not answer: {str(error) or type(error).__name__}") from error


def redis_client(url: str, answer_s: float) -> "redis.Redis":
    """A client that waits so long for each answer and asks once: for whoever wants to know now."""
    return redis.Redis.from_url(
        url,
        socket_timeout=answer_s,
        socket_connect_timeout=answer_s,
        retry=Retry(NoBackoff(), 0),
    )
