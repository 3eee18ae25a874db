"""Whether the batcher's two threads make progress."""

from collections.abc import Callable

from tasks.loops import LOOPS, Loop, Loops
from workers.gpu.batcher import Batcher

IGNORED_S = 10.0
"""An item that has waited this long for an idle device shows that a thread has died."""


class Observed(Loop):
    """A thread that does not report its iterations itself: its age is measured by a function."""

    def __init__(self, name: str, max_age_s: float, age_s: Callable[[], float]) -> None:
        super().__init__(name, max_age_s)
        self._age_s = age_s

    def age_s(self) -> float:
        """Seconds since the thread last made progress; 0 while it has nothing to do."""
        return self._age_s()


def observe(batcher: Batcher, hang_s: float, loops: Loops = LOOPS) -> None:
    """Show the batcher's two threads among the loops of this process."""
    loops.add(Observed("device", hang_s, batcher.busy_s))
    loops.add(Observed("batcher", IGNORED_S, batcher.ignored_s))


def check(batcher: Batcher, hang_s: float) -> str | None:
    """Why the device does not work, as a sentence; None while it does.

    `hang_s`: a batch that runs for longer means that the device hangs.
    """
    busy_s, ignored_s = batcher.busy_s(), batcher.ignored_s()
    if busy_s > hang_s:
        return f"the device has been at one batch for {busy_s:.0f} s; {hang_s:g} are allowed"
    if ignored_s > IGNORED_S:
        return f"work has waited for {ignored_s:.0f} s in front of an idle device"
    return None
