"""How many connections a web process may have, from which clients, and which idle one is closed."""

import asyncio
import resource
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import structlog

from tasks.settings import Settings
from web.jobs import counters

log = structlog.get_logger()

SWEEP_S = 1.0
"""How often all connections are checked for timeouts."""
MAX_DESCRIPTORS = 65_536
"""No more file descriptors are asked for, even where a process may have a billion."""
RESERVED_DESCRIPTORS = 400
"""For descriptors that are no client connections: S3, Redis, files, listening sockets."""
SPARE = 32
"""Connections above the limit whose request is still read, since it may be a health check."""


@dataclass(frozen=True)
class Limits:
    """How many connections clients may have, and how slow they may be."""

    header_timeout_s: float
    min_bytes_s: float
    rate_window_s: float
    per_address: int
    total: int


def limits_of(settings: Settings) -> Limits:
    """The limits that follow from the settings and from this process's file descriptors."""
    return Limits(
        settings.header_timeout_s,
        settings.min_rate_kib_s * 1024,
        settings.rate_window_s,
        settings.max_connections_per_address,
        _connections(_descriptors()),
    )


def _descriptors() -> int:
    """Raise the soft limit of descriptors to the hard one; returns the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_DESCRIPTORS
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return min(max(soft, wanted), MAX_DESCRIPTORS)


def _connections(descriptors: int) -> int:
    return max(descriptors - RESERVED_DESCRIPTORS, descriptors // 2) - SPARE


class LimitedConnection(Protocol):
    """A connection, as the limiter knows it."""

    address: str
    is_trusted: bool

    def close_idle(self) -> None:
        """Close the connection, which is idle, at once."""

    def enforce_timeouts(self, now_s: float) -> str:
        """End the connection if its client is too slow; returns the reason, or an empty text."""


class ConnectionLimiter:
    """All connections of one process: enforces their number, and their timeouts once a second."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._all: dict[LimitedConnection, None] = {}
        self._idle: dict[LimitedConnection, None] = {}  # the one that is idle longest comes first
        self._by_address: dict[str, dict[LimitedConnection, None]] = {}
        self._next_sweep: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: LimitedConnection) -> str:
        """Add a new connection, which is idle; returns the limit it exceeds, or an empty text.

        An idle connection is closed to stay within a limit: one of the same address if that has too
        many, else the one that is idle longest. So a limit is only exceeded while all the other
        connections are busy.
        """
        same_address = self._by_address.setdefault(connection.address, {})
        exceeded = self._limit_met(connection, len(same_address))
        if exceeded:
            pool = same_address if exceeded == "address" else self._idle
            victim = next((other for other in pool if other in self._idle), None)
            if victim is not None:
                counters.CLOSED.labels(f"idle_{exceeded}").inc()
                self.remove(victim)
                victim.close_idle()
                exceeded = ""
        # Looked up again: the closed one may have been the last of its address.
        self._by_address.setdefault(connection.address, {})[connection] = None
        self._all[connection] = self._idle[connection] = None
        self._schedule_sweep()
        return exceeded

    @property
    def is_overfull(self) -> bool:
        """Whether there is no room even for a connection that may bring a health check."""
        return len(self) > self.limits.total + SPARE

    def mark_busy(self, connection: LimitedConnection) -> None:
        """A request has arrived on the connection."""
        self._idle.pop(connection, None)

    def mark_idle(self, connection: LimitedConnection) -> None:
        """The last request on the connection has been answered."""
        if connection in self._all:
            self._idle[connection] = None

    def remove(self, connection: LimitedConnection) -> None:
        """Forget a connection that is closed. Does nothing the second time."""
        if self._all.pop(connection, connection) is connection:
            return
        self._idle.pop(connection, None)
        same_address = self._by_address[connection.address]
        del same_address[connection]
        if not same_address:
            del self._by_address[connection.address]

    def _limit_met(self, connection: LimitedConnection, of_address: int) -> str:
        if of_address >= self.limits.per_address and not connection.is_trusted:
            return "address"
        return "process" if len(self) >= self.limits.total else ""

    def _schedule_sweep(self) -> None:
        """One timer for all connections instead of one for each."""
        if self._next_sweep is None:
            self._next_sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        self._next_sweep = None
        now_s = asyncio.get_running_loop().time()
        try:
            ended = Counter(_enforced(connection, now_s) for connection in list(self._all))
        finally:
            if self._all:
                self._schedule_sweep()
        del ended[""]
        for reason, number in ended.items():
            counters.CLOSED.labels(reason).inc(number)
        if ended:  # one line per sweep, however many clients are slow
            log.info("slow connections closed", **ended)


def _enforced(connection: LimitedConnection, now_s: float) -> str:
    """Why the connection was ended, if it was. One that fails is closed, the others go on."""
    try:
        return connection.enforce_timeouts(now_s)
    except Exception:
        log.exception("connection check failed")
        connection.close_idle()
        return "broken"
