"""Takes away from a process what it does not need to decode: files, memory, its user, system calls.

Each layer also works where another is missing: macOS has no seccomp, a worker on a laptop does not
run as root, and a container may forbid either.
"""

import contextlib
import ctypes
import faulthandler
import gc
import json
import mmap
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from numpy.typing import NDArray

from tasks.imaging import seccomp

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_FIRST_USER = 0x70000000
"""First of the user ids that systemd's list leaves unused. Each process gets one of its own."""
_NOBODY = 65534
"""For containers without ids above 65535."""

_libc = ctypes.CDLL(None, use_errno=True)

layers: dict[str, str] = {}
"""What confines this process: layer -> `on`, or why it is off."""
_report: int | None = None
"""The file descriptor for its report; None: it is not confined."""


@dataclass(frozen=True)
class Allowance:
    """What a piece of work may use."""

    memory_bytes: int
    """Address space beyond what the process has when it starts."""
    cpu_s: float
    wall_s: float


def confine(keep: int, allowance: Allowance, parent: int) -> None:
    """Give up everything but the file descriptor `keep`, the present memory, and the allowance.

    Ends the process if its `parent` has ended meanwhile.
    """
    global _report
    _report = keep
    gc.disable()
    faulthandler.disable()
    for number in (signal.SIGALRM, signal.SIGPROF, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(0, 1)  # /dev/null: nobody reads what a decoder prints
    os.dup2(0, 2)
    os.closerange(3, keep)
    os.closerange(keep + 1, _files_limit())
    _take_limits(allowance)
    layers["user"] = _reason(_change_user)
    layers["closed memory"] = _reason(_close_memory)
    if os.getppid() != parent:
        os._exit(1)
    layers["seccomp"] = _reason(seccomp.install)


def is_confined() -> bool:
    """Whether this process does one piece of work and ends."""
    return _report is not None


def fail(reason: str) -> NoReturn:
    """Report an error and end this confined process: for what cannot raise an exception."""
    if _report is not None:
        os.write(_report, json.dumps({"error": reason}).encode() + b"\n")
    os._exit(1)


def report(data: bytes, memory: NDArray[Any], arguments: Mapping[str, Any]) -> dict[str, str]:
    """Work for the sandbox: returns which layers are on."""
    return dict(layers)


def _take_limits(allowance: Allowance) -> None:
    """Set limits that cannot be raised again."""
    # Finer than RLIMIT_CPU, which counts whole seconds and remains as a second line of defence.
    signal.setitimer(signal.ITIMER_PROF, allowance.cpu_s)
    signal.setitimer(signal.ITIMER_REAL, allowance.wall_s + 1)
    _limit(resource.RLIMIT_CPU, int(allowance.cpu_s) + 1)
    _limit(resource.RLIMIT_AS, _address_space_bytes() + allowance.memory_bytes)
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        _limit(kind, 0)


def _limit(kind: int, most: int) -> None:
    """Lower a limit; a limit that is lower already stays."""
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS has no RLIMIT_AS
        resource.setrlimit(kind, (most, most))


def _files_limit() -> int:
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 65_536)


def _address_space_bytes() -> int:
    """The address space in use now."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * mmap.PAGESIZE
    except OSError:  # not Linux
        return 2**40


def _change_user() -> None:
    """Become a user that owns nothing, which only root can do."""
    if os.geteuid() != 0:
        raise OSError("not started as root")
    with contextlib.suppress(OSError):  # forbidden in some containers; the user matters more
        os.setgroups([])
    for user in (_FIRST_USER + os.getpid(), _NOBODY):
        with contextlib.suppress(OSError):  # a container may have few ids
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            break
    else:
        raise OSError("no other user id is available here")
    _limit(resource.RLIMIT_NPROC, 0)


def _close_memory() -> None:
    """Keep other processes of this user from reading our memory, and end when the parent ends.

    After the change of user, which would undo both.
    """
    if not sys.platform.startswith("linux"):
        raise OSError(f"not known on {sys.platform}")
    for option, value in ((_PR_SET_DUMPABLE, 0), (_PR_SET_PDEATHSIG, signal.SIGKILL)):
        if _libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")


def _reason(take: Callable[[], None]) -> str:
    """`on`, or why this layer is not available."""
    try:
        take()
    except OSError as error:
        return f"off: {error.strerror or error}"
    return "on"
