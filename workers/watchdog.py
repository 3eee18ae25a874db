"""Ends this process when it no longer works, so that whatever supervises it starts it again.

That may be our own supervisor, systemd or Kubernetes: all of them restart a process that has ended.
"""

import os
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import structlog

from tasks.loops import LOOPS, Periodic

RESTART_EXIT_CODE = 70
"""Exit code of a process that hangs or has lost its device: it should be started again."""
EVERY_S = 1.0
ALLOWED_S = 30.0
SUSPENDED_S = 10.0
"""A longer time between two checks means that the process was suspended, as by a laptop's sleep."""

Check = Callable[[], str | None]
"""Why this worker does not work, as a sentence; None while it does."""

log = structlog.get_logger()


def late_loop() -> str | None:
    """The first loop of this process that is late, as a sentence; None while none is."""
    reasons = LOOPS.reasons()
    return reasons[0] if reasons else None


class Watchdog:
    """Ends the process when a check fails: a thread inside a driver's call cannot be stopped.

    No work is lost, since a message is acknowledged only after its work: it is delivered again.
    """

    def __init__(
        self,
        checks: Sequence[Check],
        *,
        every_s: float = EVERY_S,
        end: Callable[[int], Any] = os._exit,
    ) -> None:
        self._checks, self._end = checks, end
        self._checked_at, self._paused_until = monotonic(), float("-inf")
        self._loop = Periodic("watchdog", self._check, every_s=every_s, max_age_s=ALLOWED_S)

    def start(self) -> None:
        """Begin checking."""
        self._loop.start()

    def stop(self) -> None:
        """Stop checking."""
        self._loop.stop()

    def _check(self) -> None:
        previous, self._checked_at = self._checked_at, monotonic()
        if self._checked_at - previous > SUSPENDED_S:  # everything looks late after a suspension
            self._paused_until = self._checked_at + ALLOWED_S
        if self._checked_at < self._paused_until:
            return
        for check in self._checks:
            if reason := check():
                log.error("worker does not work", reason=reason)
                self._end(RESTART_EXIT_CODE)
                self.stop()
                return
