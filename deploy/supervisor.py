"""Keeps processes running: restarts what dies, with back-off, and leaves no orphan behind."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deploy.embedded import Program
from deploy.probes import Probe, Probes

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
"""Alive for so long, a process is taken for healthy again."""
TRIES = 3
"""Starts of a process before `up` gives up, as long as it has never been ready."""
GRACE_S = 15.0
REPLACE_GRACE_S = 10.0
"""From SIGTERM to SIGKILL of a process that runs but does not work."""
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
        self, logs: Path | None, report: Callable[[str], None], changed: Callable[[], None]
    ) -> None:
        """`logs`: folder of a log file per program; None: all write where this process does."""
        self.logs, self._report, self._changed = logs, report, changed
        self._children: dict[str, _Child] = {}
        self._probes = Probes(lambda: self.pids)
        if logs:
            logs.mkdir(parents=True, exist_ok=True)

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
        log = self.log_of(program.name)
        if log and log.exists():
            log.replace(log.with_suffix(".log.1"))
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
        for name, child in self._children.items():
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

    def stop(self) -> None:
        """SIGTERM in reverse order, a process group at a time; SIGKILL after GRACE_S."""
        self._probes.stop()
        for name in reversed(self._children):
            child = self._children[name]
            _signal_group(child.process.pid, signal.SIGTERM)
            try:
                child.process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self._report(f"{name} did not stop in {GRACE_S:.0f} s and was killed")
            _signal_group(child.process.pid, signal.SIGKILL)
            child.process.wait()

    def log_of(self, name: str) -> Path | None:
        """The log file of one program, if it has one."""
        return self.logs / f"{name}.log" if self.logs else None

    def _died(self, name: str, child: _Child) -> None:
        _signal_group(child.process.pid, signal.SIGKILL)  # its children must not outlive it
        if time.monotonic() - child.started_at > STEADY_S:
            child.pause_s, child.exits = FIRST_PAUSE_S, 0
        child.exits += 1
        reason = _reason(child.process.returncode)
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
        child.process, child.started_at = self._spawn(child.program), time.monotonic()
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
        file = self.log_of(program.name)
        with open(file, "ab") if file else nullcontext() as log:
            return subprocess.Popen(
                program.command,
                env={**os.environ, **program.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT if log else None,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    def _last_words(self, name: str) -> str:
        log = self.log_of(name)
        if log is None:
            return "; what it said stands above"
        lines = log.read_text(errors="replace").strip().splitlines()
        last = lines[-1][-300:] if lines else "it said nothing."
        return f": {last}  Its log: {log}"


def leftovers(started: dict[str, tuple[int, float]]) -> Iterator[str]:
    """Stop what an earlier supervisor left running; by pid and start time, so never a stranger."""
    for name, (pid, created) in started.items():
        if _is_same(pid, created):
            _signal_group(pid, signal.SIGTERM)
            with suppress(psutil.TimeoutExpired, psutil.NoSuchProcess):
                psutil.Process(pid).wait(GRACE_S)
            _signal_group(pid, signal.SIGKILL)
            yield name


def created_at(pid: int) -> float:
    """Start time of a process, which tells it from a later one with the same pid; 0 if gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0


def _is_same(pid: int, created: float) -> bool:
    return bool(created) and abs(created_at(pid) - created) < 0.1


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
