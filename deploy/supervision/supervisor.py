"""Keeps programs running: restarts what dies, with growing pauses, and replaces what hangs."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from deploy.supervision.liveness import Monitor, Probe
from deploy.supervision.log_files import Limits, rotate_all
from deploy.supervision.logs import Logs
from deploy.supervision.process import (
    FIRST_PAUSE_S,
    STOP_GRACE_S,
    CannotStart,
    Child,
    Program,
    exit_reason,
    send_signal,
    signal_group,
    spawn,
)
from deploy.supervision.shutdown import Shutdown

LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
"""A process that has run for so long is healthy: its next restart comes quickly again."""
TRIES = 3
"""How often a process may end before the installation was ready once; then `up` gives up."""
REPLACE_GRACE_S = 10.0
"""From SIGTERM to SIGKILL of a process that is replaced."""
LOG_TAIL = 16_384
"""Bytes at the end of a log in which the reason of an end is looked for."""


class Supervisor:
    """Starts programs in order, watches them, and stops them in reverse order."""

    def __init__(
        self,
        logs: Path | None,
        report: Callable[[str], None],
        changed: Callable[[], None],
        limits: Limits | None = None,
    ) -> None:
        """`logs`: folder with a log file per program; None: all write to this process's terminal.

        `report` gets a sentence for people; `changed` is called when other processes run.
        """
        self.logs, self._report, self._changed = logs, report, changed
        self._limits = limits
        self._writer: Logs | None = None
        self._children: dict[str, Child] = {}
        self._monitor = Monitor(lambda: self.pids)
        self.chores: list[Callable[[], None]] = []
        """Called at each poll; an exception of a chore ends the supervisor."""
        self.is_urgent = False
        """Whether a stop no longer waits for work: set by a second Ctrl-C."""

    @property
    def pids(self) -> dict[str, int]:
        """Name -> pid of each running program."""
        return {
            name: child.process.pid
            for name, child in list(self._children.items())  # read from threads as well
            if child.restart_at is None
        }

    @property
    def names(self) -> set[str]:
        """All programs that have not ended for good."""
        return set(self._children)

    @property
    def kept(self) -> list[str]:
        """The programs that are kept running, in the order of their starts."""
        return [name for name, child in self._children.items() if not child.is_retiring]

    @property
    def replaced(self) -> dict[str, tuple[int, str]]:
        """Name -> how often the program was replaced because it did not respond, and why last."""
        return {
            name: (child.replaced, child.why_replaced)
            for name, child in self._children.items()
            if child.replaced
        }

    def start(
        self, program: Program, probe: Probe | None = None, *, is_steady: bool = False
    ) -> None:
        """Start a program, whose output goes to a log file of its name.

        If `probe` fails, the program is replaced although its process runs. `is_steady`: it is
        restarted for ever from the beginning.
        """
        process = spawn(program, self._output_of(program.name))
        child = Child(program, process, time.monotonic(), is_steady=is_steady)
        self._children[program.name] = child
        if probe:
            self._monitor.add(program.name, probe)
        self._changed()

    def retire(self, name: str) -> None:
        """Let a program end, and forget it then. It may finish its work before."""
        child = self._children[name]
        child.is_retiring = True
        child.kill_at = time.monotonic() + (child.program.drain_s or STOP_GRACE_S)
        send_signal(child.process, signal.SIGTERM)

    def mark_ready(self) -> None:
        """The installation is up: from now on whatever dies is restarted for ever."""
        for child in self._children.values():
            child.is_steady = True

    def wait_for(self, what: str, ready: Callable[[], bool], seconds: float) -> None:
        """Poll until `ready`; CannotStart when a program gives up or the time is over."""
        end = time.monotonic() + seconds
        while not ready():
            self.poll()
            if time.monotonic() > end:
                see = f"; see {self.logs}" if self.logs else ""
                raise CannotStart(f"{what} was not ready after {seconds:.0f} s{see}")
            time.sleep(0.1)

    def watch(self) -> None:
        """Restart whatever dies, until interrupted."""
        while True:
            self.poll()
            time.sleep(0.1)

    def poll(self) -> None:
        """Look at every child once, restart what is due, do the chores.

        Raises CannotStart for a program that ended TRIES times and was never ready.
        """
        if self._writer:
            self._writer.poll()
        for name, child in list(self._children.items()):
            self._poll_child(name, child)
        for chore in self.chores:
            chore()

    def stop(self, in_progress: Callable[[], str] = str) -> None:
        """Stop all programs; returns when none is left. `in_progress` says what is unfinished."""
        self._monitor.stop()
        shutdown = Shutdown(self._report, lambda: self.is_urgent, in_progress)
        shutdown.run(list(self._children.values()))
        if self._writer:
            self._writer.close()
            self._writer = None

    def _poll_child(self, name: str, child: Child) -> None:
        if child.is_retiring and (child.restart_at is not None or not child.is_running):
            signal_group(child.process.pid, signal.SIGKILL)  # its children must not outlive it
            del self._children[name]
            self._changed()
        elif child.restart_at is not None:
            if time.monotonic() >= child.restart_at:
                self._restart(name, child)
        elif not child.is_running:
            self._handle_exit(name, child)
        elif child.kill_at is not None:
            if time.monotonic() >= child.kill_at:
                signal_group(child.process.pid, signal.SIGKILL)
        elif child.is_steady and (reason := self._monitor.why_replace(name)):
            self._replace(name, child, reason)

    def _handle_exit(self, name: str, child: Child) -> None:
        signal_group(child.process.pid, signal.SIGKILL)  # its children must not outlive it
        if time.monotonic() - child.started_at > STEADY_S:
            child.pause_s, child.exits = FIRST_PAUSE_S, 0
        child.exits += 1
        reason = exit_reason(child.process.returncode)
        if child.program.repair:
            reason = child.program.repair(self._log_tail(name)) or reason
        if not child.is_steady and child.exits >= TRIES:
            raise CannotStart(f"{name} cannot start ({reason}){self._last_line(name)}")
        self._report(f"{name} ended ({reason}); it is started again in {child.pause_s:g} s")
        self._schedule_restart(child)
        self._changed()

    def _replace(self, name: str, child: Child, reason: str) -> None:
        """End a program that hangs; it is then started again as if it had died."""
        self._report(f"{name} runs but does not work: {reason}; replacing it")
        self._monitor.replaced(name)
        child.replaced, child.why_replaced = child.replaced + 1, reason
        child.kill_at = time.monotonic() + REPLACE_GRACE_S
        for number in (signal.SIGTERM, signal.SIGCONT):  # a stopped process cannot end itself
            signal_group(child.process.pid, number)

    def _restart(self, name: str, child: Child) -> None:
        try:
            child.process = spawn(child.program, self._output_of(name))
        except CannotStart as error:  # memory or file descriptors are short, which passes
            if not child.is_steady:
                raise
            self._report(f"{error}; trying again in {child.pause_s:g} s")
            self._schedule_restart(child)
            return
        child.started_at = time.monotonic()
        child.restart_at = child.kill_at = None
        self._report(f"{name} is started again")
        self._changed()

    @staticmethod
    def _schedule_restart(child: Child) -> None:
        child.restart_at = time.monotonic() + child.pause_s
        child.pause_s = min(child.pause_s * 2, LONGEST_PAUSE_S)

    def _output_of(self, name: str) -> int | None:
        """The file descriptor that a program writes to; None for this process's own output."""
        if self.logs is None:
            return None
        if self._writer is None:
            rotate_all(self.logs)
            self._writer = Logs(self.logs, self._limits)
        return self._writer.pipe(name)

    def _log_tail(self, name: str) -> str:
        """The end of a program's log."""
        if self._writer is None:
            return ""
        self._writer.flush()
        log = self._writer.path(name)
        try:
            with open(log, "rb") as file:
                file.seek(max(0, log.stat().st_size - LOG_TAIL))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def _last_line(self, name: str) -> str:
        """What an error message says of a program's log."""
        if self._writer is None:
            return "; its output stands above"
        lines = self._log_tail(name).strip().splitlines()
        last = lines[-1][-300:] if lines else "it wrote nothing."
        return f": {last}  Its log: {self._writer.path(name)}"


def shorten_stop_on_signals(supervisor: Supervisor) -> None:
    """From now on Ctrl-C and SIGTERM interrupt nothing; they make the stop that runs urgent."""

    def make_urgent(number: int, frame: FrameType | None) -> None:
        supervisor.is_urgent = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, make_urgent)
