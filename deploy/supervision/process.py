"""One child process: how it is started, signalled, and told apart from a stranger with its pid."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil

FIRST_PAUSE_S = 0.5
"""The pause before the first restart; each further one doubles it."""
STOP_GRACE_S = 15.0
"""How long a process that holds no work may take to stop, before it is killed."""
PR_SET_PDEATHSIG = 1


class CannotStart(Exception):
    """A program does not start; the message says which one, why, and where its log is."""


@dataclass(frozen=True)
class Program:
    """How to start one process."""

    name: str
    command: list[str]
    env: dict[str, str]
    """Set beside the variables of this process."""
    drain_s: float = 0.0
    """How long the process may go on with its work after SIGTERM; 0 if it holds no work."""
    stop_notice: int = 0
    """The signal that announces a stop, sent before any process is stopped; 0 for none."""
    repair: Callable[[str], str] | None = None
    """Called when the process has ended, with the end of its log. Repairs what kept the process
    from starting; returns what was wrong and what was done, or "" if it found nothing."""


@dataclass
class Child:
    """A started program and what the supervisor knows of it."""

    program: Program
    process: "subprocess.Popen[bytes]"
    started_at: float
    exits: int = 0
    """How often it has ended since it last ran for long."""
    pause_s: float = FIRST_PAUSE_S
    restart_at: float | None = None
    """When it is started again; None while it runs."""
    kill_at: float | None = None
    """When it is killed, if it was told to end and has not."""
    is_steady: bool = False
    """Whether the installation was ready once: from then on it is restarted for ever."""
    is_retiring: bool = False
    """Whether it was told to end for good."""
    replaced: int = 0
    """How often it was ended because it did not respond."""
    why_replaced: str = ""

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None


def spawn(program: Program, output: int | None) -> "subprocess.Popen[bytes]":
    """Start a program in a process group of its own. Raises CannotStart if that is impossible.

    `output`: the file descriptor that it writes to; None for the terminal of this process.
    """
    try:
        return subprocess.Popen(
            program.command,
            env={**os.environ, **program.env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
    except OSError as error:
        reason = f"{program.command[0]}: {error.strerror}"
        raise CannotStart(f"{program.name} cannot start: {reason}") from error


def send_signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    """Signal the process itself and none of its children; nothing if it has ended."""
    if process.poll() is None:  # after it was waited for, its pid may belong to a stranger
        process.send_signal(number)


def signal_group(pid: int, number: int) -> None:
    """Signal the process group that `pid` leads; nothing if it is gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def exit_reason(code: int) -> str:
    """Why a process ended: `exit code 1`, `killed by SIGKILL`."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def created_at(pid: int) -> float:
    """Start time of a process, which tells it from a later one with the same pid; 0 if gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0


def stop_leftovers(
    started: Mapping[str, tuple[int, float]], patience_s: float = STOP_GRACE_S
) -> Iterator[str]:
    """Stop what an earlier supervisor left running; yields the name of each that was stopped.

    `started`: name -> pid and start time. A stranger that has got one of these pids is left alone.
    """
    for name, (pid, created) in started.items():
        if not created or abs(created_at(pid) - created) >= 0.1:
            continue
        with suppress(psutil.TimeoutExpired, psutil.NoSuchProcess):
            process = psutil.Process(pid)
            process.terminate()  # itself alone: a worker needs its children until it is done
            process.wait(patience_s)
        signal_group(pid, signal.SIGKILL)
        yield name


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_parent() -> None:
    """Runs in the child: asks the kernel for a SIGTERM when the supervisor dies."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
