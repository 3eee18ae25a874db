"""What a process gives up before it looks at hostile bytes: files, limits, its user, system calls.

Each layer holds where the one before it is missing: macOS has no seccomp, a laptop's worker is not
root, a container may forbid either.
"""

import contextlib
import ctypes
import faulthandler
import gc
import mmap
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from tasks.imaging import seccomp

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_FIRST_USER = 0x70000000
"""Users from here on are nobody's, by systemd's list of user ids; each process gets its own."""
_NOBODY = 65534
"""Where a container knows no ids above 65535."""

_libc = ctypes.CDLL(None, use_errno=True)

layers: dict[str, str] = {}
"""What holds in this process: layer -> `on`, or why it is off."""


@dataclass(frozen=True)
class Allowance:
    """What a piece of work may use."""

    memory_bytes: int
    """Address space on top of what the process has when it starts."""
    cpu_s: float
    wall_s: float


def confine(keep: int, allowance: Allowance, parent: int) -> None:
    """Give up all but the file descriptor `keep`, this process's memory, and the allowance.

    Ends the process if its `parent` has ended meanwhile.
    """
    gc.disable()
    faulthandler.disable()
    for number in (signal.SIGALRM, signal.SIGPROF, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(0, 1)  # /dev/null: what a decoder prints is for nobody
    os.dup2(0, 2)
    os.closerange(3, keep)
    os.closerange(keep + 1, _files_limit())
    _take_limits(allowance)
    layers["user"] = _reason(_change_user)
    layers["closed memory"] = _reason(_close_memory)
    if os.getppid() != parent:
        os._exit(1)
    layers["seccomp"] = _reason(seccomp.install)


def report(data: bytes, memory: NDArray[Any], arguments: Mapping[str, Any]) -> dict[str, str]:
    """A piece of work that answers which layers hold."""
    return dict(layers)


def _take_limits(allowance: Allowance) -> None:
    """Limits that cannot be raised again."""
    # Finer than RLIMIT_CPU, which counts in whole seconds and stays as the second line.
    signal.setitimer(signal.ITIMER_PROF, allowance.cpu_s)
    signal.setitimer(signal.ITIMER_REAL, allowance.wall_s + 1)
    _limit(resource.RLIMIT_CPU, int(allowance.cpu_s) + 1)
    _limit(resource.RLIMIT_AS, _address_space_bytes() + allowance.memory_bytes)
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        _limit(kind, 0)


def _limit(kind: int, most: int) -> None:
    """Lower a limit; one that is lower already stays."""
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS has no RLIMIT_AS
        resource.setrlimit(kind, (most, most))


def _files_limit() -> int:
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 65_536)


def _address_space_bytes() -> int:
    """What is mapped now."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * mmap.PAGESIZE
    except OSError:  # not Linux
        return 2**40


def _change_user() -> None:
    """Become a user that owns nothing; only root can."""
    if os.geteuid() != 0:
        raise OSError("not started as root")
    with contextlib.suppress(OSError):  # forbidden in some containers; the ids matter more
        os.setgroups([])
    for user in (_FIRST_USER + os.getpid(), _NOBODY):
        with contextlib.suppress(OSError):  # a container's namespace may know few ids
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            break
    else:
        raise OSError("no other user id may be taken here")
    _limit(resource.RLIMIT_NPROC, 0)


def _close_memory() -> None:
    """Let no process of the same user read this one's memory, and end with the parent.

    After the change of user, which would undo both.
    """
    if not sys.platform.startswith("linux"):
        raise OSError(f"not known on {sys.platform}")
    for option, value in ((_PR_SET_DUMPABLE, 0), (_PR_SET_PDEATHSIG, signal.SIGKILL)):
        if _libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")


def _reason(take: Callable[[], None]) -> str:
    """`on`, or why this layer could not be had."""
    try:
        take()
    except OSError as error:
        return f"off: {error.strerror or error}"
    return "on"
