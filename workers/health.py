"""Whether this worker works; a process that does not ends, to be started anew.

No supervisor of ours is needed for that: systemd and Kubernetes start again what has ended.
"""

import os
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import structlog

from tasks.loops import LOOPS, Loop, Loops, ThreadLoop
from workers.gpu.batcher import Batcher

LOST = 70
"""Exit code of a process that is lost or hangs: it is to be started again."""
IGNORED_S = 10.0
"""Work that waits so long in front of an idle device: its thread is gone."""
LOOK_S = 1.0
ALLOWED_S = 30.0
ASLEEP_S = 10.0
"""Between two looks of the watchdog itself: the process was suspended, as with its machine."""

Trouble = Callable[[], str | None]
"""Why this worker does not work; None while it does."""

log = structlog.get_logger()


class Watched(Loop):
    """A thread of somebody else's making, whose age is asked for."""

    def __init__(self, name: str, allowed_s: float, age_s: Callable[[], float]) -> None:
        super().__init__(name, allowed_s)
        self._age_s = age_s

    def age_s(self) -> float:
        """Seconds since it last got on; 0 while there is nothing to do."""
        return self._age_s()


def watch_device(batcher: Batcher, hang_s: float, loops: Loops = LOOPS) -> None:
    """Show the batcher's two threads among the loops of this process."""
    loops.add(Watched("device", hang_s, batcher.busy_s))
    loops.add(Watched("batcher", IGNORED_S, batcher.ignored_s))


def trouble(batcher: Batcher, hang_s: float) -> str | None:
    """Why this worker is not alive; None while it is."""
    busy_s, ignored_s = batcher.busy_s(), batcher.ignored_s()
    if busy_s > hang_s:
        return f"the device has been at one batch for {busy_s:.0f} s; {hang_s:g} are allowed"
    if ignored_s > IGNORED_S:
        return f"work has waited for {ignored_s:.0f} s in front of an idle device"
    return None


def late_loop() -> str | None:
    """Why one of this process's loops is not alive; None while all are."""
    reasons = LOOPS.reasons()
    return reasons[0] if reasons else None


class Watchdog:
    """Ends the process once it does not work: no thread can be taken out of a driver's call.

    What it held comes back to the queue, since no message is acknowledged before its end.
    """

    def __init__(
        self,
        troubles: Sequence[Trouble],
        *,
        every_s: float = LOOK_S,
        end: Callable[[int], Any] = os._exit,
    ) -> None:
        self._troubles, self._end = troubles, end
        self._looked_at, self._patient_until = monotonic(), float("-inf")
        self._loop = ThreadLoop("watchdog", self._look, every_s=every_s, allowed_s=ALLOWED_S)

    def start(self) -> None:
        """Look from now on."""
        self._loop.start()

    def stop(self) -> None:
        """Look no more."""
        self._loop.stop()

    def _look(self) -> None:
        now, before, self._looked_at = monotonic(), self._looked_at, monotonic()
        if now - before > ASLEEP_S:  # the whole process was: nobody could have got on
            self._patient_until = now + ALLOWED_S
        if now < self._patient_until:
            return
        for trouble in self._troubles:
            if reason := trouble():
                log.error("worker does not work", reason=reason)
                self._end(LOST)
                self.stop()
                return
