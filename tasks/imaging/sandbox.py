"""Runs one piece of work on hostile bytes in a child process that can harm nothing but itself.

A fork per piece: 3 to 4 ms of CPU, limits included, where a helper that stays alive would cost
0.1 ms. But bytes that took such a helper over would meet the
next user's picture there, and a crash would cost a start of 100 ms.
The child runs only what it is given and ends with os._exit: no handler, no atexit, no shared file.
Where the caller has threads, the work must take no lock that a thread may have held at the fork.
"""

import codecs
import contextlib
import faulthandler
import gc
import json
import mmap
import os
import resource
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tasks.errors import BadInput

Memory = NDArray[np.uint8]
"""Bytes that parent and child share."""
Work = Callable[[Memory], dict[str, Any]]
"""Writes into the memory, answers with a small JSON object."""

for _encoding in ("ascii", "latin_1", "cp1252", "utf_8", "utf_16", "utf_16_be", "utf_16_le"):
    codecs.lookup(_encoding)  # imported here, because the child can open no file to do it later

_MAX_REPORT_BYTES = 4096
_HINT = "Open it in a picture viewer, save it again as JPEG or PNG, and send that."


class DecodeError(Exception):
    """What the child said; the cause of the BadInput, for the log."""


@dataclass(frozen=True)
class Allowance:
    """What the child may use."""

    memory_bytes: int
    """Address space on top of what the parent has."""
    cpu_s: float
    wall_s: float


def run(work: Work, memory_bytes: int, allowance: Allowance) -> tuple[dict[str, Any], Memory]:
    """The work's answer and the memory it wrote.

    Raises BadInput where the work raised, crashed, or used more than its allowance.
    """
    memory = mmap.mmap(-1, max(memory_bytes, 1))
    array = np.frombuffer(memory, np.uint8)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _child(work, array, writer, allowance)
    try:
        os.close(writer)
        report = _read(reader, time.monotonic() + allowance.wall_s)
    finally:
        os.close(reader)
        _end(child)
    _keep_from_later_children(memory)
    return _answer(report), array


def _child(work: Work, memory: Memory, writer: int, allowance: Allowance) -> NoReturn:
    """Do the work, report, and never come back."""
    report: dict[str, Any]
    try:
        _confine(writer, allowance)
        report = {"answer": work(memory)}
    except MemoryError:
        report = {"error": "out of memory"}
    except BaseException as error:  # noqa: B036 - whatever it is, it must not leave this process
        report = {"error": str(error)[:200] or type(error).__name__}
    with contextlib.suppress(BaseException):
        os.write(writer, json.dumps(report).encode()[:_MAX_REPORT_BYTES])
    os._exit(0)


def _confine(writer: int, allowance: Allowance) -> None:
    """Drop what the parent had open, then take limits that cannot be raised again."""
    gc.disable()
    faulthandler.disable()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGPROF, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    os.closerange(3, writer)
    os.closerange(writer + 1, 65_536)
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


def _address_space_bytes() -> int:
    """What is mapped now: torch and CUDA map far more than they use."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * mmap.PAGESIZE
    except OSError:  # not Linux
        return 2**40


def _read(reader: int, deadline: float) -> bytes:
    """What the child reports before the deadline; nothing if it died."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        return b""
    return os.read(reader, _MAX_REPORT_BYTES)


def _end(child: int) -> None:
    """Kill the child if it still lives, and reap it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):  # the caller ignores SIGCHLD: nothing to reap
        os.waitpid(child, 0)


def _keep_from_later_children(memory: mmap.mmap) -> None:
    """The next picture's child must not see this one's pixels."""
    if hasattr(mmap, "MADV_DONTFORK"):
        memory.madvise(mmap.MADV_DONTFORK)


def _answer(report: bytes) -> dict[str, Any]:
    """The child's answer; what it says is as little trusted as the bytes it read."""
    try:
        said = json.loads(report)
        answer = said.get("answer")
    except (ValueError, AttributeError):
        said, answer = {}, None
    if isinstance(answer, dict):
        return answer
    raise BadInput(
        "This picture cannot be decoded: it is damaged, cut short, or takes too much to read.",
        code="decode_failed",
        hint=_HINT,
    ) from DecodeError(said.get("error", "the decoder died"))
