"""Whether the device makes progress; a process whose device does not ends, to be started anew."""

import os
import threading
from collections.abc import Callable
from typing import Any

import structlog

from tasks.batcher import Batcher

LOST = 70
"""Exit code of a process whose device is lost or hangs: it is to be started again."""
IGNORED_S = 10.0
"""Work that waits so long in front of an idle device: its thread is gone."""

log = structlog.get_logger()


def trouble(batcher: Batcher, hang_s: float) -> str | None:
    """Why this worker is not alive; None while it is."""
    busy_s, ignored_s = batcher.busy_s(), batcher.ignored_s()
    if busy_s > hang_s:
        return f"the device has been at one batch for {busy_s:.0f} s; {hang_s:g} are allowed"
    if ignored_s > IGNORED_S:
        return f"work has waited for {ignored_s:.0f} s in front of an idle device"
    return None


class Watchdog:
    """Ends the process when the device hangs: no thread can be taken out of a driver's call.

    What it held comes back to the queue, since no message is acknowledged before its end.
    """

    def __init__(
        self, batcher: Batcher, hang_s: float, end: Callable[[int], Any] = os._exit
    ) -> None:
        self._batcher, self._hang_s, self._end = batcher, hang_s, end
        self._stopping = threading.Event()

    def start(self) -> None:
        """Look from now on, often enough to be late by a tenth."""
        threading.Thread(target=self._run, daemon=True, name="watchdog").start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(min(1.0, self._hang_s / 10)):
            if reason := trouble(self._batcher, self._hang_s):
                log.error("device hangs", reason=reason)
                self._end(LOST)
                return
