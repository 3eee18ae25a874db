"""How many connections a web process has, from whom, and which of them leaves for another."""

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
MOST_DESCRIPTORS = 65_536
"""More are not asked for, even where a process may have a billion."""
RESERVED_DESCRIPTORS = 400
"""For what is no client's connection: S3, Redis, files, listeners."""
SPARE = 32
"""Connections above the limit that are still heard: one of them may ask whether we are well."""


@dataclass(frozen=True)
class Limits:
    """What clients may take, and how slow they may be."""

    header_timeout_s: float
    min_bytes_s: float
    rate_window_s: float
    per_address: int
    total: int


def limits_of(now: Settings) -> Limits:
    """The limits of these settings and of the descriptors that this process may have."""
    return Limits(
        now.header_timeout_s,
        now.min_rate_kib_s * 1024,
        now.rate_window_s,
        now.max_connections_per_address,
        _connections(_descriptors()),
    )


def _descriptors() -> int:
    """Raise the soft limit to the hard one; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_DESCRIPTORS
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return min(max(soft, wanted), MOST_DESCRIPTORS)


def _connections(descriptors: int) -> int:
    return max(descriptors - RESERVED_DESCRIPTORS, descriptors // 2) - SPARE


class Member(Protocol):
    """A connection, as the crowd knows it."""

    address: str
    is_trusted: bool

    def leave(self) -> None:
        """Close at once."""

    def look(self, now_s: float) -> str:
        """End it if its client lets us wait for too long; why, or nothing."""


class Crowd:
    """The connections of one process."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._everybody: dict[Member, None] = {}
        self._idle: dict[Member, None] = {}  # the one that is idle longest comes first
        self._of: dict[str, dict[Member, None]] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._everybody)

    def enter(self, one: Member) -> str:
        """A new connection, idle as yet. The limit that it is above, if it is above one.

        An idle connection leaves first: of the same address if that has too many, else the one
        that is idle longest of all. Only while every other is at work is one above a limit.
        """
        own = self._of.setdefault(one.address, {})
        above = self._limit_met(one, len(own))
        if above:
            pool = own if above == "address" else self._idle
            leaving = next((other for other in pool if other in self._idle), None)
            if leaving is not None:
                self._count(f"idle_{above}")
                self.forget(leaving)
                leaving.leave()
                above = ""
        # Looked up again: the one that left may have been the last of its address.
        self._of.setdefault(one.address, {})[one] = None
        self._everybody[one] = self._idle[one] = None
        self._watch()
        return above

    @property
    def is_overfull(self) -> bool:
        """Whether not even one that asks for our health can be heard."""
        return len(self) > self.limits.total + SPARE

    def begin(self, one: Member) -> None:
        """A request has come on it."""
        self._idle.pop(one, None)

    def rest(self, one: Member) -> None:
        """Its last request is answered."""
        if one in self._everybody:
            self._idle[one] = None

    def forget(self, one: Member) -> None:
        """It is closed."""
        if self._everybody.pop(one, one) is one:
            return
        self._idle.pop(one, None)
        own = self._of[one.address]
        del own[one]
        if not own:
            del self._of[one.address]

    def _limit_met(self, one: Member, own: int) -> str:
        if own >= self.limits.per_address and not one.is_trusted:
            return "address"
        return "process" if len(self) >= self.limits.total else ""

    def _count(self, reason: str) -> None:
        counters.CLOSED.labels(reason).inc()

    def _watch(self) -> None:
        """Look at all of them once a second while there are any: one timer, not one for each."""
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        now_s = asyncio.get_running_loop().time()
        try:
            ended = Counter(_looked(one, now_s) for one in list(self._everybody))
        finally:
            if self._everybody:
                self._watch()
        del ended[""]
        for reason, number in ended.items():
            counters.CLOSED.labels(reason).inc(number)
        if ended:  # a line a second at most, whoever it is
            log.info("slow clients sent away", **ended)


def _looked(one: Member, now_s: float) -> str:
    """Why it was ended, if it was; one that breaks over it leaves, so that the others are seen."""
    try:
        return one.look(now_s)
    except Exception:
        log.exception("a connection broke")
        one.leave()
        return "broken"
