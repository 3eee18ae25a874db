"""Stops all children in order, and lets those that hold work finish it."""

import signal
import time
from collections.abc import Callable, Sequence

from deploy.supervision.process import STOP_GRACE_S, Child, send_signal, signal_group

URGENT_GRACE_S = 5.0
"""How long each process may still take after a second Ctrl-C."""
REPORT_EVERY_S = 5.0
"""How often a stop reports what it waits for."""


class Shutdown:
    """One stop of all children."""

    def __init__(
        self,
        report: Callable[[str], None],
        is_urgent: Callable[[], bool],
        in_progress: Callable[[], str],
    ) -> None:
        """`is_urgent`: whether work is no longer waited for. `in_progress`: what is unfinished."""
        self._report, self._is_urgent, self._in_progress = report, is_urgent, in_progress

    def run(self, children: Sequence[Child]) -> None:
        """Announce the stop, then stop kind after kind, the one that was started last first.

        A process that holds work may take as long as it drains, any other STOP_GRACE_S; then it is
        killed. SIGTERM goes to the process alone: a worker needs its children to finish its work.
        """
        for child in children:
            if child.program.stop_notice:
                send_signal(child.process, child.program.stop_notice)
        for group in _by_kind(children):
            self._stop(group)

    def _stop(self, group: Sequence[Child]) -> None:
        for child in group:
            send_signal(child.process, signal.SIGTERM)
        began = reported = time.monotonic()
        urgent_since: float | None = None
        while running := [child for child in group if child.is_running]:
            if self._is_urgent() and urgent_since is None:
                urgent_since = time.monotonic()
                _requeue_work(running)
            if time.monotonic() - reported > REPORT_EVERY_S:
                reported = time.monotonic()
                self._report_waiting(running, reported - began)
            for child in running:
                self._kill_if_late(child, began, urgent_since)
            time.sleep(0.05)
        for child in group:
            signal_group(child.process.pid, signal.SIGKILL)  # children that it left behind

    def _kill_if_late(self, child: Child, began: float, urgent_since: float | None) -> None:
        patience_s = URGENT_GRACE_S if urgent_since else child.program.drain_s or STOP_GRACE_S
        if time.monotonic() - (urgent_since or began) > patience_s:
            self._report(f"{child.program.name} did not stop within {patience_s:.0f} s; killing it")
            signal_group(child.process.pid, signal.SIGKILL)
            child.process.wait()

    def _report_waiting(self, running: Sequence[Child], waited_s: float) -> None:
        names = ", ".join(child.program.name for child in running)
        left_s = max(child.program.drain_s or STOP_GRACE_S for child in running) - waited_s
        work = self._in_progress()
        self._report(
            f"waiting for {names}{f' ({work})' if work else ''}, for {max(left_s, 0):.0f} s at "
            "most; press Ctrl-C again to put unfinished work back into the queue"
        )


def _by_kind(children: Sequence[Child]) -> list[list[Child]]:
    """Children that stop together (all gpu workers, all cpu workers, ...), last started first."""
    kinds: dict[str, list[Child]] = {}
    for child in reversed(children):
        kinds.setdefault(child.program.name.rstrip("-0123456789"), []).append(child)
    return list(kinds.values())


def _requeue_work(children: Sequence[Child]) -> None:
    """Tell those that hold work to put it back into the queue and end."""
    for child in children:
        if child.program.drain_s:
            send_signal(child.process, signal.SIGQUIT)
