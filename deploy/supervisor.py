"""Keeps processes running: restarts what dies, with back-off, and leaves no orphan behind."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import psutil

from deploy.logs import Limits, Logs, turn_all
from deploy.probes import Probe, Probes
from deploy.servers import Program

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
"""Alive for so long, a process is taken for healthy again."""
TRIES = 3
"""Starts of a process before `up` gives up, as long as it has never been ready."""
GRACE_S = 15.0
REPLACE_GRACE_S = 10.0
"""From SIGTERM to SIGKILL of a process that runs but does not work."""
"""What holds no work is killed when it has not stopped so long after it was told to."""
TAIL = 16_384
"""Bytes of a log that are looked through for why its program ended."""
HURRY_S = 5.0
"""After a second Ctrl-C, every process has so long to stop."""
SAY_S = 5.0
"""How often it is said what a stop still waits for."""
PR_SET_PDEATHSIG = 1


class CannotStart(Exception):
    """A process ends again and again; the message says which, why, and where its log is."""


@dataclass
class _Child:
    program: Program
    process: "subprocess.Popen[bytes]"
    started_at: float
    exits: int = 0
    pause_s: float = FIRST_PAUSE_S
    restart_at: float | None = None
    is_steady: bool = field(default=False)
    kill_at: float | None = None
    """When it is killed, as it was told to end."""
    replaced: int = 0
    """How often it ran without working."""
    why_replaced: str = ""


class Supervisor:
    """Starts programs in order, watches them, stops them in reverse order."""

    def __init__(
        self,
        logs: Path | None,
        report: Callable[[str], None],
        changed: Callable[[], None],
        limits: Limits | None = None,
    ) -> None:
        """`logs`: folder of a log file per program; None: all write where this process does."""
        self.logs, self._report, self._changed = logs, report, changed
        self._limits = limits
        self._writer: Logs | None = None
        self._children: dict[str, _Child] = {}
        self._probes = Probes(lambda: self.pids)
        self.chores: list[Callable[[], None]] = []
        """Called at every look at the children; what they raise ends the supervisor."""
        self.is_hurried = False
        """Set by a second Ctrl-C: work in hand is not waited for."""

    @property
    def pids(self) -> dict[str, int]:
        """Name -> pid of what runs now."""
        return {
            name: child.process.pid
            for name, child in list(self._children.items())  # probes ask from threads
            if child.restart_at is None
        }

    @property
    def replaced(self) -> dict[str, tuple[int, str]]:
        """Name -> how often it ran without working and was replaced, and why at last."""
        return {
            name: (child.replaced, child.why_replaced)
            for name, child in self._children.items()
            if child.replaced
        }

    def start(self, program: Program, probe: Probe | None = None) -> None:
        """Start a program; its output goes to a log file of its name.

        With a probe it is replaced when it runs but does not work.
        """
        self._children[program.name] = _Child(program, self._spawn(program), time.monotonic())
        if probe:
            self._probes.add(program.name, probe)
        self._changed()

    def mark_ready(self) -> None:
        """All are up: from now on whatever dies is restarted for ever."""
        for child in self._children.values():
            child.is_steady = True

    def wait_for(self, what: str, ready: Callable[[], bool], seconds: float) -> None:
        """Poll until `ready`; CannotStart when a program gives up or time is over."""
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
        """Look once at every child; restart what is due. CannotStart for one that never ran."""
        if self._writer:
            self._writer.poll()
        for name, child in self._children.items():
            self._look(name, child)
        for chore in self.chores:
            chore()

    def _look(self, name: str, child: _Child) -> None:
        if child.restart_at is not None:
            if time.monotonic() >= child.restart_at:
                self._restart(name, child)
        elif child.process.poll() is not None:
            self._died(name, child)
        elif child.kill_at is not None:
            if time.monotonic() >= child.kill_at:
                _signal_group(child.process.pid, signal.SIGKILL)
        elif child.is_steady and (reason := self._probes.why_replace(name)):
            self._replace(name, child, reason)

    def stop(self, in_hand: Callable[[], str] = str) -> None:
        """End all: first each hears its notice, then SIGTERM in reverse order, kind by kind.

        What holds work has as long as it drains, all else GRACE_S, then SIGKILL. `in_hand` says
        what is still under way. Only the process itself is told: a worker's own children must go
        on until it has done what it holds.
        """
        self._probes.stop()
        for child in self._children.values():
            if child.program.notice:
                _signal(child.process, child.program.notice)
        for kind in self._kinds():
            self._stop_together(kind, in_hand)
        if self._writer:
            self._writer.close()
            self._writer = None

    def _kinds(self) -> list[list[_Child]]:
        """Those that stop together, in the order in which they do: gpu workers first."""
        kinds: dict[str, list[_Child]] = {}
        for name in reversed(self._children):
            kinds.setdefault(name.rstrip("-0123456789"), []).append(self._children[name])
        return list(kinds.values())

    def _stop_together(self, children: list[_Child], in_hand: Callable[[], str]) -> None:
        for child in children:
            _signal(child.process, signal.SIGTERM)
        began = said = time.monotonic()
        hurried: float | None = None
        while left := [child for child in children if child.process.poll() is None]:
            if self.is_hurried and hurried is None:
                hurried = time.monotonic()
                _hurry(left)
            if time.monotonic() - said > SAY_S:
                said = time.monotonic()
                self._say_waiting(left, said - began, in_hand())
            for child in left:
                self._kill_late(child, began, hurried)
            time.sleep(0.05)
        for child in children:
            _signal_group(child.process.pid, signal.SIGKILL)  # whatever it has left behind

    def _kill_late(self, child: _Child, began: float, hurried: float | None) -> None:
        patience_s = HURRY_S if hurried else child.program.drain_s or GRACE_S
        if time.monotonic() - (hurried or began) > patience_s:
            self._report(f"{child.program.name} did not stop in {patience_s:.0f} s and is killed")
            _signal_group(child.process.pid, signal.SIGKILL)
            child.process.wait()

    def _say_waiting(self, left: list[_Child], waited_s: float, in_hand: str) -> None:
        names = ", ".join(child.program.name for child in left)
        left_s = max(child.program.drain_s or GRACE_S for child in left) - waited_s
        what = f" ({in_hand})" if in_hand else ""
        self._report(
            f"waiting for {names}{what}, {max(left_s, 0):.0f} s at most; "
            "Ctrl-C again gives the work back to the queue"
        )

    def log_of(self, name: str) -> Path | None:
        """The log file of one program, if it has one."""
        return self.logs / f"{name}.log" if self.logs else None

    def _pipe_of(self, name: str) -> int | None:
        """Where a program's output goes; None: where ours goes."""
        if self.logs is None:
            return None
        if self._writer is None:
            turn_all(self.logs)
            self._writer = Logs(self.logs, self._limits)
        return self._writer.pipe(name)

    def _died(self, name: str, child: _Child) -> None:
        _signal_group(child.process.pid, signal.SIGKILL)  # its children must not outlive it
        if time.monotonic() - child.started_at > STEADY_S:
            child.pause_s, child.exits = FIRST_PAUSE_S, 0
        child.exits += 1
        reason = _reason(child.process.returncode)
        if child.program.mend and (mended := child.program.mend(self._tail(name))):
            reason = mended
            self._report(f"{name}: {mended}")
        if not child.is_steady and child.exits >= TRIES:
            raise CannotStart(f"{name} cannot start ({reason}){self._last_words(name)}")
        self._report(f"{name} ended ({reason}); starting it again in {child.pause_s:g} s")
        child.restart_at = time.monotonic() + child.pause_s
        child.pause_s = min(child.pause_s * 2, LONGEST_PAUSE_S)
        self._changed()

    def _replace(self, name: str, child: _Child, reason: str) -> None:
        """Have it end; then it is started again as if it had died."""
        self._report(f"{name} runs but does not work: {reason}; replacing it")
        self._probes.replaced(name)
        child.replaced, child.why_replaced = child.replaced + 1, reason
        child.kill_at = time.monotonic() + REPLACE_GRACE_S
        for number in (signal.SIGTERM, signal.SIGCONT):  # one that was stopped cannot end itself
            _signal_group(child.process.pid, number)

    def _restart(self, name: str, child: _Child) -> None:
        try:
            child.process, child.started_at = self._spawn(child.program), time.monotonic()
        except CannotStart as error:  # no memory, no file descriptors: this passes
            if not child.is_steady:
                raise
            self._report(f"{error}; trying again in {child.pause_s:g} s")
            child.restart_at = time.monotonic() + child.pause_s
            child.pause_s = min(child.pause_s * 2, LONGEST_PAUSE_S)
            return
        child.restart_at = child.kill_at = None
        self._report(f"{name} is started again")
        self._changed()

    def _spawn(self, program: Program) -> "subprocess.Popen[bytes]":
        try:
            return self._open(program)
        except OSError as error:
            raise CannotStart(
                f"{program.name} cannot start: {program.command[0]}: {error.strerror}"
            ) from error

    def _open(self, program: Program) -> "subprocess.Popen[bytes]":
        log = self._pipe_of(program.name)
        return subprocess.Popen(
            program.command,
            env={**os.environ, **program.env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=None if log is None else subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )

    def _tail(self, name: str) -> str:
        """The end of a program's log."""
        log = self.log_of(name)
        if log is None or self._writer is None:
            return ""
        self._writer.flush()
        try:
            with open(log, "rb") as file:
                file.seek(max(0, log.stat().st_size - TAIL))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def _last_words(self, name: str) -> str:
        log = self.log_of(name)
        if log is None or self._writer is None:
            return "; what it said stands above"
        lines = self._tail(name).strip().splitlines()
        last = lines[-1][-300:] if lines else "it said nothing."
        return f": {last}  Its log: {log}"


def leftovers(started: dict[str, tuple[int, float]], patience_s: float = GRACE_S) -> Iterator[str]:
    """Stop what an earlier supervisor left running; by pid and start time, so never a stranger."""
    for name, (pid, created) in started.items():
        if _is_same(pid, created):
            with suppress(psutil.TimeoutExpired, psutil.NoSuchProcess):
                left = psutil.Process(pid)
                left.terminate()  # it alone: a worker's own children must go on until it is done
                left.wait(patience_s)
            _signal_group(pid, signal.SIGKILL)
            yield name


def hurry_on_signals(supervisor: Supervisor) -> None:
    """From now on Ctrl-C and SIGTERM no longer interrupt; they shorten what the stop waits for."""

    def hurry(number: int, frame: FrameType | None) -> None:
        supervisor.is_hurried = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, hurry)


def created_at(pid: int) -> float:
    """Start time of a process, which tells it from a later one with the same pid; 0 if gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0


def _is_same(pid: int, created: float) -> bool:
    return bool(created) and abs(created_at(pid) - created) < 0.1


def _hurry(children: list[_Child]) -> None:
    """Let those that hold work give it back to the queue."""
    for child in children:
        if child.program.drain_s:
            _signal(child.process, signal.SIGQUIT)


def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    if process.poll() is None:  # the pid of one that was waited for may be somebody else's
        process.send_signal(number)


def _signal_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _reason(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """In the child: SIGTERM when the supervisor is gone, however it went."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
