"""Background loops that come back, and how their process knows that each of them still turns.

Whatever a loop's body raises is logged with its traceback, counted, and followed by another try.
Outages that a body expects it handles itself: such a turn counts as completed, so that a storage
that is away never makes a process look dead. Every loop declares how old its last completed turn
may get; /healthz, /metrics, the catalogue and the supervisor read that from LOOPS.
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
"""After a failure; it doubles with every further one and begins anew after a completed turn."""
LONGEST_PAUSE_S = 30.0
LOG_EVERY_S = 10.0
"""A loop that fails over and over logs one traceback in this time, and how many it left out."""
STOP_S = 5.0
"""A body that does not react to its cancellation is waited for no longer than this."""

log = structlog.get_logger()


class Loop:
    """What is known of one loop. Any thread may ask and tell."""

    def __init__(self, name: str, allowed_s: float) -> None:
        """`allowed_s`: the age above which the loop is no longer taken for alive."""
        self.name, self.allowed_s = name, allowed_s
        self.failures = 0
        """Exceptions that left the body."""
        self.restarts = 0
        self.reason = ""
        """The latest of them; empty again after a completed turn."""
        self._since: float | None = monotonic()
        self._in_a_row = 0
        self._logged_at, self._unlogged = float("-inf"), 0

    def age_s(self) -> float:
        """Seconds since the last completed turn; 0 while there is nothing to do."""
        since = self._since
        return 0.0 if since is None else monotonic() - since

    def is_late(self) -> bool:
        """Whether the last completed turn is longer ago than it may be."""
        return self.age_s() > self.allowed_s

    def turn(self) -> None:
        """Say that a turn is complete, or that a long one makes progress."""
        self._since, self._in_a_row, self.reason = monotonic(), 0, ""

    def rest(self) -> None:
        """Say that there is nothing to do: the age is 0 until the next `turn` or `begin`."""
        self._since = None

    def begin(self) -> None:
        """Say that there is something to do again."""
        if self._since is None:
            self._since = monotonic()

    def fail(self, error: BaseException) -> float:
        """Count and log a failure; the seconds to wait before the next try. Never raises."""
        self.failures += 1
        self._in_a_row += 1
        self.reason = f"{type(error).__name__}: {error}"
        if monotonic() - self._logged_at > LOG_EVERY_S:
            with suppress(Exception):  # a full disk must not end the loop that would say so
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
        """Counts of loops that were stopped: a counter must never fall."""

    def __iter__(self) -> Iterator[Loop]:
        return iter(tuple(self._loops))

    def add(self, loop: Loop) -> None:
        """Watch a loop from now on."""
        loop.begin()
        self._loops.append(loop)

    def remove(self, loop: Loop) -> None:
        """Watch it no longer: it was stopped on purpose."""
        with suppress(ValueError):
            self._loops.remove(loop)
            ended = self._ended.setdefault(loop.name, Counter())
            ended.update(failures=loop.failures, restarts=loop.restarts)

    def late(self) -> list[Loop]:
        """Those whose last completed turn is longer ago than it may be."""
        return [loop for loop in self if loop.is_late()]

    def reasons(self) -> list[str]:
        """One sentence for each loop that is late."""
        return [_sentence(loop) for loop in self.late()]

    def collect(self) -> Iterable[Metric]:
        """Age, bound, failures and restarts by loop, for Prometheus."""
        names = dict.fromkeys([*self._ended, *(loop.name for loop in self)])
        age = GaugeMetricFamily(
            "pixelmill_loop_age_seconds", "Time since the last completed turn.", labels=["loop"]
        )
        allowed = GaugeMetricFamily(
            "pixelmill_loop_allowed_seconds", "Above this age it counts as dead.", labels=["loop"]
        )
        failures = CounterMetricFamily(
            "pixelmill_loop_failures", "Exceptions that left its body.", labels=["loop"]
        )
        restarts = CounterMetricFamily(
            "pixelmill_loop_restarts", "Times that it was started again.", labels=["loop"]
        )
        for name in names:
            alike = [loop for loop in self if loop.name == name]
            ended = self._ended.get(name, Counter[str]())
            if alike:
                age.add_metric([name], max(loop.age_s() for loop in alike))
                allowed.add_metric([name], min(loop.allowed_s for loop in alike))
            failures.add_metric([name], ended["failures"] + sum(one.failures for one in alike))
            restarts.add_metric([name], ended["restarts"] + sum(one.restarts for one in alike))
        return [age, allowed, failures, restarts]


LOOPS = Loops()
"""Those of this process."""

_current: ContextVar[Loop | None] = ContextVar("loop", default=None)


def progress() -> None:
    """Say that the loop in whose body this runs makes progress; elsewhere this does nothing.

    For turns that take long because there is much to do. Works in `asyncio.to_thread` as well.
    """
    loop = _current.get()
    if loop is not None:
        loop.turn()


class AsyncLoop:
    """Calls a coroutine function again and again, for ever; the body may also run for long."""

    def __init__(
        self,
        name: str,
        body: Callable[[], Awaitable[object]],
        *,
        allowed_s: float,
        every_s: float,
        loops: Loops = LOOPS,
    ) -> None:
        """`every_s`: the pause after a turn."""
        self.loop = Loop(name, allowed_s)
        self._body, self._every_s, self._loops = body, every_s, loops
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopping = False

    def start(self) -> None:
        """Begin, as a task of the running event loop."""
        self._is_stopping = False
        self._loops.add(self.loop)
        self._begin()

    async def stop(self) -> None:
        """Cancel the body and wait for its end."""
        self._is_stopping = True
        self._loops.remove(self.loop)
        if self._timer:
            self._timer.cancel()
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=STOP_S)

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._turns(), name=self.loop.name)
        self._task.add_done_callback(self._over)

    async def _turns(self) -> None:
        _current.set(self.loop)
        try:
            while True:
                await self._body()
                self.loop.turn()
                await asyncio.sleep(self._every_s)
        except (SystemExit, KeyboardInterrupt) as error:
            # A task that ends by one of these takes the whole event loop with it.
            raise RuntimeError(f"the body raised {type(error).__name__}") from error

    def _over(self, task: "asyncio.Task[None]") -> None:
        """Start again, unless somebody cancelled the task: a body's own CancelledError is none."""
        if self._is_stopping or task.cancelling():
            self._loops.remove(self.loop)
            return
        error = None if task.cancelled() else task.exception()
        pause_s = self.loop.fail(error or asyncio.CancelledError("of something awaited"))
        self.loop.restarts += 1
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._begin)


class ThreadLoop:
    """Calls a function again and again, for ever, from a daemon thread of its own."""

    def __init__(
        self,
        name: str,
        body: Callable[[], object],
        *,
        allowed_s: float,
        every_s: float,
        loops: Loops = LOOPS,
    ) -> None:
        """`every_s`: the pause after a turn; 0 for a body that waits itself."""
        self.loop = Loop(name, allowed_s)
        self.stopping = threading.Event()
        self._woken = threading.Event()
        self._body, self._every_s, self._loops = body, every_s, loops
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)

    def start(self) -> None:
        """Begin."""
        self._loops.add(self.loop)
        self._thread.start()

    def stop(self) -> None:
        """Begin no further turn. Does not wait for the present one."""
        self.stopping.set()
        self._woken.set()
        self._loops.remove(self.loop)

    def wake(self) -> None:
        """Begin the next turn now."""
        self._woken.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the present turn, after `stop`."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        _current.set(self.loop)
        while not self.stopping.is_set():
            self._woken.wait(self._turn())
            if not self.stopping.is_set():
                self._woken.clear()

    def _turn(self) -> float:
        """Seconds until the next."""
        try:
            self._body()
        except BaseException as error:  # a loop ends when it is stopped, and by nothing else
            self.loop.restarts += 1
            return self.loop.fail(error)
        self.loop.turn()
        return self._every_s


def _sentence(loop: Loop) -> str:
    why = f"; it failed {loop.failures} times, at last by {loop.reason}" if loop.reason else ""
    return (
        f"the loop {loop.name!r} has completed no turn for {loop.age_s():.0f} s; "
        f"{loop.allowed_s:g} are allowed{why}"
    )
