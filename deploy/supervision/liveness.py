"""Liveness probes: whether a program that runs also works, asked from a thread per program.

The supervisor replaces a program that fails several probes in a row. Failures do not count before
its first success, until its time to start is over.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic

from tasks.loops import Periodic

EVERY_S = 2.0
"""The pause between two probes of one program."""
UNHEALTHY_EVERY_S = 600.0
"""A program that calls itself unhealthy is replaced no more often than this: if the first
replacement did not help, further ones would only add outages."""

Ask = Callable[[int], None]
"""Asks the program with this pid whether it works. Returns if it does, else raises NoAnswer or
Unhealthy; Unknown if that cannot be found out now."""


class NoAnswer(Exception):
    """The program does not answer."""


class Unhealthy(Exception):
    """The program answers that it does not work."""


class Unknown(Exception):
    """Something else that is needed to find out is unavailable."""


@dataclass(frozen=True)
class Probe:
    """How one program is asked, and with how much patience."""

    ask: Ask
    misses: int = 3
    """So many failures in a row, EVERY_S apart, have the program replaced."""
    start_s: float = 120.0
    """How long the program may take to start: until its first success, or the end of this time,
    failures do not count."""


class Health:
    """What the probes of one program have shown. A thread writes it, the supervisor reads it."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._pid, self._since, self._has_worked, self._misses = 0, monotonic(), False, 0
        self._replaced_at = float("-inf")
        self.reason = ""
        """Why the program has to be replaced; empty while it works."""

    def check(self, pid: int) -> None:
        """Probe the program, which has this pid now."""
        if pid != self._pid:
            self._pid, self._since, self._has_worked = pid, monotonic(), False
            self._misses, self.reason = 0, ""
        try:
            self._probe.ask(pid)
        except Unknown:
            self._misses = 0
        except (NoAnswer, Unhealthy) as error:
            self._miss(error)
        else:
            self._has_worked, self._misses, self.reason = True, 0, ""

    def replaced(self) -> None:
        """The program was told to end; its successor will have another pid."""
        self._replaced_at, self._misses, self.reason = monotonic(), 0, ""
        self._since, self._has_worked = monotonic(), False

    def _miss(self, error: Exception) -> None:
        is_starting = not self._has_worked and monotonic() - self._since < self._probe.start_s
        is_recent = monotonic() - self._replaced_at < UNHEALTHY_EVERY_S
        if is_starting or (isinstance(error, Unhealthy) and is_recent):
            return
        self._misses += 1
        if self._misses >= self._probe.misses:
            self.reason = str(error)


class Monitor:
    """Probes all programs that were added, until it is stopped."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        """`pids` returns name -> pid of each running program."""
        self._pids = pids
        self._health: dict[str, Health] = {}
        self._loops: list[Periodic] = []
        self._stopped = threading.Event()

    def add(self, name: str, probe: Probe) -> None:
        """Probe this program from now on; one of the same name that was probed before has ended."""
        is_known = name in self._health
        self._health[name] = Health(probe)
        if is_known:
            return
        loop = Periodic(
            f"probe of {name}", lambda: self._check(name), every_s=EVERY_S, max_age_s=300
        )
        self._loops.append(loop)
        loop.start()

    def why_replace(self, name: str) -> str:
        """Why the program of this name has to be replaced; empty while it works."""
        health = self._health.get(name)
        return health.reason if health and not self._stopped.is_set() else ""

    def replaced(self, name: str) -> None:
        """The program of this name was told to end."""
        self._health[name].replaced()

    def stop(self) -> None:
        """Probe no more, and ask for no replacement."""
        self._stopped.set()
        for loop in self._loops:
            loop.stop()

    def _check(self, name: str) -> None:
        pid = self._pids().get(name)
        if pid is not None:
            self._health[name].check(pid)
