"""Periodic work that survives its own errors, and how a process knows that it still goes on.

Whatever the body of a loop raises is logged with its traceback, counted, and followed by another
attempt. A body handles the outages that it expects: such an iteration counts as completed, so that
an unavailable storage never makes a process look dead. Every loop declares how long ago its last
completed iteration may be; /healthz, /metrics, the catalogue and the supervisor read that from
LOOPS.
"""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from time import monotonic

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

FIRST_PAUSE_S = 0.2
"""Pause after a failure. It doubles with every further one, until an iteration is completed."""
LONGEST_PAUSE_S = 30.0
LOG_EVERY_S = 10.0
"""A loop that keeps failing logs one traceback in this time, and how many it left out."""
STOP_S = 5.0
"""Longest wait for a body that does not react to its cancellation."""

log = structlog.get_logger()


class Loop:
    """The state of one loop. Its methods may be called from any thread."""

    def __init__(self, name: str, max_age_s: float) -> None:
        """`max_age_s`: the age above which the loop counts as dead."""
        self.name, self.max_age_s = name, max_age_s
        self.failures = 0
        """Exceptions that left the body."""
        self.restarts = 0
        self.reason = ""
        """The latest of them; empty again after a completed iteration."""
        self._since: float | None = monotonic()
        self._in_a_row = 0
        self._logged_at, self._unlogged = float("-inf"), 0

    def age_s(self) -> float:
        """Seconds since the last completed iteration; 0 while there is nothing to do."""
        since = self._since
        return 0.0 if since is None else monotonic() - since

    def is_late(self) -> bool:
        """Whether the last completed iteration is too long ago."""
        return self.age_s() > self.max_age_s

    def tick(self) -> None:
        """An iteration is complete, or a long one makes progress."""
        self._since, self._in_a_row, self.reason = monotonic(), 0, ""

    def idle(self) -> None:
        """There is nothing to do: the age is 0 until the next `tick` or `busy`."""
        self._since = None

    def busy(self) -> None:
        """There is something to do again."""
        if self._since is None:
            self._since = monotonic()

    def fail(self, error: BaseException) -> float:
        """Count and log a failure; returns the seconds to wait before the next attempt.

        Never raises.
        """
        self.failures += 1
        self._in_a_row += 1
        self.reason = f"{type(error).__name__}: {error}"
        if monotonic() - self._logged_at > LOG_EVERY_S:
            with suppress(Exception):  # a full disk must not end the loop that reports it
                log.error("loop failed", loop=self.name, failures=self.failures,
                          unlogged=self._unlogged, exc_info=error)  # fmt: skip
            self._logged_at, self._unlogged = monotonic(), 0
        else:
            self._unlogged += 1
        pause_s = FIRST_PAUSE_S * 2.0 ** min(self._in_a_row - 1, 20)
        return min(pause_s, LONGEST_PAUSE_S) * random.uniform(0.5, 1)


class Loops:
    """All loops of one process."""

    def __init__(self) -> None:
        self._loops: list[Loop] = []
        self._ended: dict[str, Counter[str]] = {}
        """Counts of loops that were stopped: a counter must never decrease."""

    def __iter__(self) -> Iterator[Loop]:
        return iter(tuple(self._loops))

    def add(self, loop: Loop) -> None:
        """Watch this loop. Its age counts from now, however long ago it was constructed."""
        loop.idle()
        loop.busy()
        self._loops.append(loop)

    def remove(self, loop: Loop) -> None:
        """Stop watching this loop, which was stopped on purpose."""
        with suppress(ValueError):
            self._loops.remove(loop)
            ended = self._ended.setdefault(loop.name, Counter())
            ended.update(failures=loop.failures, restarts=loop.restarts)

    def late(self) -> list[Loop]:
        """The loops whose last completed iteration is too long ago."""
        return [loop for loop in self if loop.is_late()]

    def reasons(self) -> list[str]:
        """One sentence for each loop that is late."""
        return [_sentence(loop) for loop in self.late()]

    def collect(self) -> Iterable[Metric]:
        """Age, longest allowed age, failures and restarts by loop, for Prometheus."""
        names = dict.fromkeys([*self._ended, *(loop.name for loop in self)])
        age = GaugeMetricFamily(
            "pixelmill_loop_age_seconds",
            "Time since the last completed iteration.",
            labels=["loop"],
        )
        allowed = GaugeMetricFamily(
            "pixelmill_loop_allowed_seconds",
            "Age above which the loop counts as dead.",
            labels=["loop"],
        )
        failures = CounterMetricFamily(
            "pixelmill_loop_failures", "Exceptions that its body raised.", labels=["loop"]
        )
        restarts = CounterMetricFamily(
            "pixelmill_loop_restarts", "How often it was started again.", labels=["loop"]
        )
        for name in names:
            alike = [loop for loop in self if loop.name == name]
            ended = self._ended.get(name, Counter[str]())
            if alike:
                age.add_metric([name], max(loop.age_s() for loop in alike))
                allowed.add_metric([name], min(loop.max_age_s for loop in alike))
            failures.add_metric([name], ended["failures"] + sum(loop.failures for loop in alike))
            restarts.add_metric([name], ended["restarts"] + sum(loop.restarts for loop in alike))
        return [age, allowed, failures, restarts]


LOOPS = Loops()
"""The loops of this process."""

_current: ContextVar[Loop | None] = ContextVar("loop", default=None)


def progress() -> None:
    """Say that the loop in whose body this is called makes progress; does nothing elsewhere.

    For iterations that take long because there is much to do. Works in `asyncio.to_thread` as well.
    """
    loop = _current.get()
    if loop is not None:
        loop.tick()


class AsyncPeriodic:
    """Calls a coroutine function again and again until it is stopped; one call may take long."""

    def __init__(
        self,
        name: str,
        body: Callable[[], Awaitable[object]],
        *,
        max_age_s: float,
        every_s: float,
        loops: Loops = LOOPS,
    ) -> None:
        """`every_s`: the pause after an iteration."""
        self.loop = Loop(name, max_age_s)
        self._body, self._every_s, self._loops = body, every_s, loops
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopping = False

    def start(self) -> None:
        """Start as a task of the running event loop."""
        self._is_stopping = False
        self._loops.add(self.loop)
        self._begin()

    async def stop(self) -> None:
        """Cancel the body and wait until it has ended."""
        self._is_stopping = True
        self._loops.remove(self.loop)
        if self._timer:
            self._timer.cancel()
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=STOP_S)

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._iterate(), name=self.loop.name)
        self._task.add_done_callback(self._done)

    async def _iterate(self) -> None:
        _current.set(self.loop)
        try:
            while True:
                await self._body()
                self.loop.tick()
                await asyncio.sleep(self._every_s)
        except (SystemExit, KeyboardInterrupt) as error:
            # A task that raises one of these ends the whole event loop.
            raise RuntimeError(f"the body raised {type(error).__name__}") from error

    def _done(self, task: "asyncio.Task[None]") -> None:
        """Start again unless the task was cancelled; a CancelledError that the body raised itself
        does not count."""
        if self._is_stopping or task.cancelling():
            self._loops.remove(self.loop)
            return
        error = None if task.cancelled() else task.exception()
        pause_s = self.loop.fail(error or asyncio.CancelledError("of something that was awaited"))
        self.loop.restarts += 1
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._begin)


class Periodic:
    """Calls a function again and again until it is stopped, in a daemon thread of its own."""

    def __init__(
        self,
        name: str,
        body: Callable[[], object],
        *,
        max_age_s: float,
        every_s: float,
        loops: Loops = LOOPS,
    ) -> None:
        """`every_s`: the pause after an iteration; 0 for a body that waits itself."""
        self.loop = Loop(name, max_age_s)
        self.stopping = threading.Event()
        self._woken = threading.Event()
        self._body, self._every_s, self._loops = body, every_s, loops
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)

    def start(self) -> None:
        """Start."""
        self._loops.add(self.loop)
        self._thread.start()

    def stop(self) -> None:
        """Start no further iteration. Does not wait for the present one."""
        self.stopping.set()
        self._woken.set()
        self._loops.remove(self.loop)

    def wake(self) -> None:
        """Start the next iteration now."""
        self._woken.set()

    def join(self, timeout_s: float) -> None:
        """After `stop`: wait for the end of the present iteration."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        _current.set(self.loop)
        while not self.stopping.is_set():
            self._woken.wait(self._iterate())
            if not self.stopping.is_set():
                self._woken.clear()

    def _iterate(self) -> float:
        """Seconds until the next iteration."""
        try:
            self._body()
        except BaseException as error:  # nothing but `stop` ends a loop
            self.loop.restarts += 1
            return self.loop.fail(error)
        self.loop.tick()
        return self._every_s


def _sentence(loop: Loop) -> str:
    failures = f"; it failed {loop.failures} times, last with {loop.reason}" if loop.reason else ""
    return (
        f"the loop {loop.name!r} has completed no iteration for {loop.age_s():.0f} s; "
        f"at most {loop.max_age_s:g} s are allowed{failures}"
    )
