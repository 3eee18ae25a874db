"""Runs a piece of work on untrusted bytes in a process that can harm only itself.

Each piece gets a new process, so it never shares memory with another user's picture. The process is
forked from `fork_server.py`, so it has none of our secrets. `confinement.py` says what it may still
do. A piece costs about 3 ms of CPU more than the work alone.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tasks.errors import BadInput, ModelFailure, Unavailable
from tasks.imaging import fork_server, helper, shared_memory
from tasks.imaging.confinement import Allowance
from tasks.imaging.helper import Helper, HelperGone
from tasks.imaging.shared_memory import Memory

TRIES = 2
"""Attempts for a piece: a process may have been killed, for example since memory ran out."""
_HINT = "Open it in a picture viewer, save it again as JPEG or PNG, and send that."

__all__ = ["Allowance", "DecodeError", "Memory", "layers", "run", "start"]


class DecodeError(Exception):
    """What the child reported; the cause of a BadInput, for the log."""


class _DiedEarly(Exception):
    """The child ended long before its limits and reported nothing: it crashed or was killed."""


@dataclass(frozen=True)
class _Child:
    """A process that the helper has forked for us."""

    pid: int
    handle: int | None
    """Its pidfd, which unlike a pid is never used again for another process."""

    def end(self) -> bool:
        """Kill it and wait until it is gone, so that the shared memory no longer changes. Whether
        it is known to be gone."""
        is_gone = False
        with contextlib.suppress(ProcessLookupError):
            if self.handle is None:
                os.kill(self.pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(self.handle, signal.SIGKILL)
                is_gone = _wait(self.handle, time.monotonic() + helper.END_S)
        if self.handle is not None:
            os.close(self.handle)
        return is_gone


def start(work: str) -> None:
    """Start the helper now, for this process and all that are forked from it, and import `work`.

    Raises Unavailable or ModelFailure if that is not possible.
    """
    with contextlib.suppress(BadInput):  # there are no bytes
        run(work, b"", {}, 0, Allowance(memory_bytes=2**28, cpu_s=1, wall_s=5))


def layers() -> dict[str, str]:
    """What confines a child here: layer -> `on`, or why it is off."""
    few = Allowance(memory_bytes=2**28, cpu_s=1, wall_s=5)
    return run("tasks.imaging.confinement:report", b"", {}, 0, few)[0]


def run(
    work: str, data: bytes, arguments: Mapping[str, Any], memory_bytes: int, allowance: Allowance
) -> tuple[dict[str, Any], Memory]:
    """The answer of `work`, a `module:function` (fork_server.Work), and the memory it has written.

    Raises BadInput if the work raised an error, crashed, or exceeded its allowance, Unavailable if
    no process could be started for it.
    """
    has_died = False
    for _ in range(TRIES):
        forker = helper.get()
        try:
            return _run(forker, work, data, arguments, memory_bytes, allowance)
        except HelperGone:
            helper.forget(forker)
        except _DiedEarly:  # a machine without memory kills children too; try again
            has_died = True
    if has_died:
        raise _damaged("the decoder died")
    raise Unavailable("the process that forks decoders has ended or hung repeatedly")


def _run(
    forker: Helper,
    work: str,
    data: bytes,
    arguments: Mapping[str, Any],
    memory_bytes: int,
    allowance: Allowance,
) -> tuple[dict[str, Any], Memory]:
    size, began = memory_bytes + len(data) or 1, time.monotonic()
    lent = shared_memory.lend(size)
    try:
        lent.put(data, memory_bytes)
        request = {
            "work": work,
            "arguments": arguments,
            "size": size,
            "memory_bytes": memory_bytes,
            "is_held": lent.kept is not None,
            "allowance": asdict(allowance),
        }
        message = json.dumps(request).encode()
        report, has_ended = _report(forker, message, lent.file, allowance.wall_s)
        if not report and forker.is_gone():
            raise HelperGone
        if not report and time.monotonic() - began < allowance.cpu_s / 2:
            raise _DiedEarly
        answer = _answer(report)
    except BaseException:
        lent.close()
        raise
    return answer, lent.memory(memory_bytes, is_final=has_ended)


def _report(forker: Helper, request: bytes, memory: int, wall_s: float) -> tuple[bytes, bool]:
    """The child's report, empty if it died or took too long, and whether it is known to be gone
    afterwards. It has been killed in any case."""
    control, theirs = socket.socketpair()
    reader, writer = os.pipe()
    child, has_ended = None, False
    try:
        with theirs:
            try:
                forker.send(request, [memory, writer, theirs.fileno()])
            finally:
                os.close(writer)
        child = _forked(control)
        report = _read(reader, time.monotonic() + wall_s)
    finally:
        os.close(reader)
        with control, contextlib.suppress(HelperGone, Unavailable, ModelFailure):
            # If we were interrupted while the helper forked, the child exists or soon will.
            has_ended = (child or _forked(control)).end()
    return report, has_ended


def _forked(control: socket.socket) -> _Child:
    """The child that the helper has forked."""
    control.settimeout(helper.ANSWER_S)
    try:
        message, files, _, _ = socket.recv_fds(control, 4096, 1)
    except (TimeoutError, ConnectionError) as error:
        raise HelperGone from error
    if not message:
        raise HelperGone
    reply = json.loads(message)
    if "error" in reply:
        raise _refused(reply["error"])
    return _Child(reply["pid"], files[0] if files else None)


def _refused(reason: str) -> Unavailable | ModelFailure:
    """A lack of memory passes; a decoder that cannot be imported stays broken."""
    if reason.startswith(("OSError", "BlockingIOError", "MemoryError")):
        return Unavailable(f"no process can be started to decode with: {reason}")
    return ModelFailure(f"the decoder cannot be started: {reason}")


def _read(reader: int, deadline: float) -> bytes:
    """What the child reports before the deadline; empty if it died."""
    report = bytearray()
    while not report.endswith(b"\n") and len(report) < fork_server.MAX_REPORT_BYTES:
        is_late = bool(report) and time.monotonic() > deadline
        if is_late or not _wait(reader, deadline) or not (part := os.read(reader, 2**16)):
            return b""
        report += part
    return bytes(report)


def _wait(file: int, deadline: float) -> bool:
    """Whether there is something to read, or an end of file, before the deadline."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _answer(report: bytes) -> dict[str, Any]:
    """The child's answer. Its report is trusted no more than the bytes that it has read."""
    try:
        fields = json.loads(report)
        answer = fields.get("answer")
    except (ValueError, AttributeError):
        fields, answer = {}, None
    if isinstance(answer, dict):
        return answer
    raise _damaged(fields.get("error", "the decoder died"))


def _damaged(reason: str) -> BadInput:
    error = BadInput(
        "This picture cannot be decoded: it is damaged, cut short, or takes too much to read.",
        code="decode_failed",
        hint=_HINT,
    )
    error.__cause__ = DecodeError(reason)
    return error


atexit.register(helper.stop)
