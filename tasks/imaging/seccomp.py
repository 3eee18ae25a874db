"""Limits the system calls of a process to a list, by a seccomp filter.

The filter is written out here: the list is short and fixed, the filter has some forty instructions
of classic BPF, and the Python bindings of libseccomp need a library of the operating system.
"""

import ctypes
import errno
import platform
import struct
import sys
from collections.abc import Sequence

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2
_LOAD, _JUMP_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER_AT, _MACHINE_AT, _PROTECTION_AT = 0, 4, 32
"""Offsets in the kernel's struct seccomp_data; the last is that of the third argument's lower
half."""
_PROT_EXEC = 4

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Name of the machine -> (column in the tables below, the kernel's AUDIT_ARCH)."""

_ALLOWED = {
    "write": (1, 64),  # the report; no other file is open
    "munmap": (11, 215),
    "brk": (12, 214),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "futex": (202, 98),
    "sched_yield": (24, 124),
    "rt_sigreturn": (15, 139),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "gettimeofday": (96, 169),
    "getrandom": (318, 278),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),  # glibc's qsort asks how much memory there is
    "sched_getaffinity": (204, 123),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
"""Name -> numbers on x86_64 and aarch64. None of them opens, sends, starts or signals anything."""
_ALLOWED_WITHOUT_EXECUTION = {"mmap": (9, 222), "mprotect": (10, 226)}
"""Refused if they would make memory executable."""


class _Program(ctypes.Structure):
    """The kernel's struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def install() -> None:
    """From now on, all other system calls of this process fail with EPERM. Cannot be undone.

    Raises OSError if the kernel has no filters or forbids them, and on machines other than those
    in the table.
    """
    if _program is None:
        raise OSError(errno.ENOSYS, f"no filter is known for {sys.platform}, {platform.machine()}")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_program), 0, 0))


def _prepared() -> _Program | None:
    """The filter for this machine; None if its numbers are not known."""
    name = platform.machine()
    if not sys.platform.startswith("linux") or name not in _MACHINES or sys.maxsize < 2**32:
        return None
    instructions = _filter(*_MACHINES[name])
    return _Program(len(instructions), b"".join(instructions))


def _filter(column: int, machine: int) -> Sequence[bytes]:
    """The instructions, which the kernel runs at each system call.

    Calls with the numbers of another machine (32 bits) end the process, since they mean other
    calls. The numbers of x32, which have bit 30 set, are not in the list.
    """
    program = [
        _instruction(_LOAD, _MACHINE_AT),
        _instruction(_JUMP_EQUAL, machine, if_true=1),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER_AT),
    ]
    for numbers in _ALLOWED.values():
        program.append(_instruction(_JUMP_EQUAL, numbers[column], if_false=1))
        program.append(_instruction(_RETURN, _ALLOW))
    for numbers in _ALLOWED_WITHOUT_EXECUTION.values():
        program.append(_instruction(_JUMP_EQUAL, numbers[column], if_false=4))
        program.append(_instruction(_LOAD, _PROTECTION_AT))
        program.append(_instruction(_JUMP_ANY_BIT, _PROT_EXEC, if_true=1))
        program.append(_instruction(_RETURN, _ALLOW))
        program.append(_instruction(_RETURN, _ERRNO | errno.EPERM))
    return [*program, _instruction(_RETURN, _ERRNO | errno.EPERM)]


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    """One struct sock_filter. Jumps are given as the number of instructions to skip."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _check(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {errno.errorcode.get(number, number)}")


# Once here, not in each of the processes that are forked from this one.
_program, _libc = _prepared(), ctypes.CDLL(None, use_errno=True)
