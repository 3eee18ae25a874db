"""Runs one piece of work on hostile bytes in a process that can harm nothing but itself.

That process is a fresh one for each piece, so no user's picture is in the memory of another's, and
it is forked from `fork_server.py`, so no secret of this process is either. What it may still do
then: see `confinement.py`. A piece costs about 3 ms of CPU time more than the work alone.
"""

import atexit
import contextlib
import errno
import fcntl
import json
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import BadInput, ModelFailure, Unavailable
from tasks.imaging import fork_server
from tasks.imaging.confinement import Allowance

Memory = NDArray[np.uint8]
"""Bytes that this process and the child share."""

TRIES = 2
"""Times that a piece is given to a helper: one may have been killed, by a full machine say."""
ANSWER_S = 10.0
"""A helper that has not forked by then hangs."""
END_S = 10.0
_KIND = socket.SOCK_SEQPACKET if sys.platform.startswith("linux") else socket.SOCK_DGRAM
_INHERITED = ("GLIBC_TUNABLES", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL")
"""All that a helper gets of the environment, where secrets are."""
_HINT = "Open it in a picture viewer, save it again as JPEG or PNG, and send that."

__all__ = ["Allowance", "DecodeError", "Memory", "layers", "run", "start", "stop"]


class DecodeError(Exception):
    """What the child said; the cause of the BadInput, for the log."""


class _HelperGone(Exception):
    """The helper ended or hangs; the picture is not to blame."""


class _DiedEarly(Exception):
    """The child ended long before its limits without a word: a crash, or somebody killed it."""


@dataclass(frozen=True)
class _Helper:
    """A fork server, and the socket on which it takes requests."""

    process: "subprocess.Popen[bytes]"
    link: socket.socket
    owner: int
    """The process that started it; those forked from that one use it as well."""

    def send(self, request: bytes, files: list[int]) -> None:
        """Hand it a request. Raises _HelperGone."""
        try:
            socket.send_fds(self.link, [request], files)
        except OSError as error:
            raise _HelperGone from error

    def is_gone(self) -> bool:
        """Whether it has ended."""
        poll = select.poll()
        poll.register(self.link, 0)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Let go of it: it ends when nobody else holds on to it, or soon."""
        self.link.close()
        if self.owner != os.getpid():
            return
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True)
class _Child:
    """A process that was forked for us by another."""

    pid: int
    handle: int | None
    """Its pidfd: unlike its number it never comes to stand for another process."""

    def end(self) -> None:
        """Kill it and wait until it is gone: from then on its memory does not change."""
        with contextlib.suppress(ProcessLookupError):
            if self.handle is None:
                os.kill(self.pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(self.handle, signal.SIGKILL)
                _wait(self.handle, time.monotonic() + END_S)
        if self.handle is not None:
            os.close(self.handle)


_lock = threading.Lock()
_current: _Helper | None = None


def start(work: str) -> None:
    """Start the helper now, for this process and all that are forked from it, and import `work`.

    Raises Unavailable or ModelFailure where that is not possible.
    """
    with contextlib.suppress(BadInput):  # of no bytes at all
        run(work, b"", {}, 0, Allowance(memory_bytes=2**28, cpu_s=1, wall_s=5))


def stop() -> None:
    """Let go of the helper; the next piece of work starts another."""
    global _current
    with _lock:
        helper, _current = _current, None
    if helper:
        helper.close()


def layers() -> dict[str, str]:
    """What confines a child here: layer -> `on`, or why it is off."""
    few = Allowance(memory_bytes=2**28, cpu_s=1, wall_s=5)
    return run("tasks.imaging.confinement:report", b"", {}, 0, few)[0]


def run(
    work: str, data: bytes, arguments: Mapping[str, Any], memory_bytes: int, allowance: Allowance
) -> tuple[dict[str, Any], Memory]:
    """The answer of `work`, a `module:function` (fork_server.Work), and the memory it wrote.

    Raises BadInput where the work raised, crashed, or used more than its allowance, Unavailable
    where no process could be had for it.
    """
    has_died = False
    for _ in range(TRIES):
        helper = _helper()
        try:
            return _run(helper, work, data, arguments, memory_bytes, allowance)
        except _HelperGone:
            _forget(helper)
        except _DiedEarly:  # a machine without memory kills children too: the second time tells
            has_died = True
    if has_died:
        raise _damaged("the decoder died")
    raise Unavailable("the process that forks decoders ended or hung again and again")


def _run(
    helper: _Helper,
    work: str,
    data: bytes,
    arguments: Mapping[str, Any],
    memory_bytes: int,
    allowance: Allowance,
) -> tuple[dict[str, Any], Memory]:
    size, began = memory_bytes + len(data) or 1, time.monotonic()
    file = _shared_file(size, memory_bytes, data)
    try:
        request = {
            "work": work,
            "arguments": arguments,
            "size": size,
            "memory_bytes": memory_bytes,
            "allowance": asdict(allowance),
        }
        report = _report(helper, json.dumps(request).encode(), file, allowance.wall_s)
        if not report and helper.is_gone():
            raise _HelperGone
        if not report and time.monotonic() - began < allowance.cpu_s / 2:
            raise _DiedEarly
        return _answer(report), np.frombuffer(mmap.mmap(file, size), np.uint8)[:memory_bytes]
    finally:
        os.close(file)


def _shared_file(size: int, at: int, data: bytes) -> int:
    """A file in memory with the data behind the first `at` bytes, of a size that stays."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("picture", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())
    os.ftruncate(file, size)
    if hasattr(os, "memfd_create"):  # a file cut short under our mapping would end this process
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        at, view = at + written, view[written:]
    return file


def _report(helper: _Helper, request: bytes, memory: int, wall_s: float) -> bytes:
    """What the child says, nothing if it died or took too long; it is gone afterwards."""
    control, theirs = socket.socketpair()
    reader, writer = os.pipe()
    child = None
    try:
        with theirs:
            try:
                helper.send(request, [memory, writer, theirs.fileno()])
            finally:
                os.close(writer)
        child = _forked(control)
        return _read(reader, time.monotonic() + wall_s)
    finally:
        os.close(reader)
        with control, contextlib.suppress(_HelperGone, Unavailable, ModelFailure):
            # Interrupted while the helper forked: the child exists, or will in a moment.
            (child or _forked(control)).end()


def _forked(control: socket.socket) -> _Child:
    """The child, as the helper names it."""
    control.settimeout(ANSWER_S)
    try:
        message, files, _, _ = socket.recv_fds(control, fork_server.MAX_REPORT_BYTES, 1)
    except (TimeoutError, ConnectionError) as error:
        raise _HelperGone from error
    if not message:
        raise _HelperGone
    told = json.loads(message)
    if "error" in told:
        raise _refused(told["error"])
    return _Child(told["pid"], files[0] if files else None)


def _refused(reason: str) -> Unavailable | ModelFailure:
    """Too little memory passes; a decoder that cannot be imported does not."""
    if reason.startswith(("OSError", "BlockingIOError", "MemoryError")):
        return Unavailable(f"no process can be started to decode with: {reason}")
    return ModelFailure(f"the decoder cannot be started: {reason}")


def _read(reader: int, deadline: float) -> bytes:
    """What the child reports before the deadline; nothing if it died."""
    if not _wait(reader, deadline):
        return b""
    return os.read(reader, fork_server.MAX_REPORT_BYTES)


def _wait(file: int, deadline: float) -> bool:
    """Whether there is something to read, or an end, before the deadline."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _helper() -> _Helper:
    global _current
    with _lock:
        if _current is None:
            _current = _started()
        return _current


def _forget(helper: _Helper) -> None:
    """Another one is started when it is needed, unless somebody has done so."""
    global _current
    with _lock:
        if _current is helper:
            _current = None
            helper.close()


def _started() -> _Helper:
    ours, theirs = socket.socketpair(socket.AF_UNIX, _KIND)
    ours.settimeout(ANSWER_S)
    with theirs:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-m", fork_server.__name__, str(theirs.fileno())],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        except OSError as error:
            ours.close()
            reason = errno.errorcode.get(error.errno or 0, str(error))
            raise Unavailable(f"no process can be started to decode with: {reason}") from error
    return _Helper(process, ours, os.getpid())


def _environment() -> dict[str, str]:
    """What a helper needs to import what this process does, and nothing else.

    One thread: a fork has its parent's locks, but not the threads that would give them back.
    """
    here = os.environ  # noqa: TID251 - a child's environment, no setting of ours
    kept = {name: here[name] for name in _INHERITED if name in here}
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(dict.fromkeys([root, *(p or os.getcwd() for p in sys.path)]))
    return {**kept, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _answer(report: bytes) -> dict[str, Any]:
    """The child's answer; what it says is as little trusted as the bytes it read."""
    try:
        said = json.loads(report)
        answer = said.get("answer")
    except (ValueError, AttributeError):
        said, answer = {}, None
    if isinstance(answer, dict):
        return answer
    raise _damaged(said.get("error", "the decoder died"))


def _damaged(reason: str) -> BadInput:
    error = BadInput(
        "This picture cannot be decoded: it is damaged, cut short, or takes too much to read.",
        code="decode_failed",
        hint=_HINT,
    )
    error.__cause__ = DecodeError(reason)
    return error


atexit.register(stop)
