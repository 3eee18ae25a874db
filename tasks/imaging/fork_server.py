"""The process that decoding processes are forked from: a new Python process that knows no secrets.

A worker's memory holds keys, passwords and other users' pictures, and a fork of it would have them
all. So a worker starts this process with an environment of its own, and sends it each piece of work
through a socket: what to run, and a file in memory with the bytes. This process never reads that
file; its child does, after it is confined. It ends when no worker holds the other end of the
socket.
"""

import codecs
import contextlib
import gc
import json
import mmap
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tasks.imaging import confinement

Work = Callable[[bytes, NDArray[np.uint8], Mapping[str, Any]], dict[str, Any]]
"""(untrusted bytes, memory to write to, arguments) -> a small JSON object."""

MAX_REQUEST_BYTES = 4096
MAX_REPORT_BYTES = 2**20
"""A report ends with a line break. That of a volume has identifiers of each of 1,024 slices."""
FILES = 3
"""Sent with each request: the memory, the pipe for the report, the socket for the child's pid."""
_REAP_MS = 1000
_POPULATE = getattr(mmap, "MAP_POPULATE", 0)
"""Maps all pages of memory that exist already, which costs less than one after the other."""

for _encoding in ("ascii", "latin_1", "cp1252", "utf_8", "utf_16", "utf_16_be", "utf_16_le"):
    codecs.lookup(_encoding)  # imported now, since a confined child can open no file


def main() -> None:
    """Serve the socket whose file descriptor is the first argument."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # They reach the whole process group; workers that are being stopped still need this one.
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as link:
        _serve(link)


def _serve(link: socket.socket) -> None:
    """Fork a child per request until no worker is left."""
    poll = select.poll()
    poll.register(link, select.POLLIN)
    children: set[int] = set()
    while True:
        ready = poll.poll(_REAP_MS if children else None)
        children -= {child for child in children if os.waitpid(child, os.WNOHANG)[0]}
        if not ready:
            continue
        message, files, _, _ = socket.recv_fds(link, MAX_REQUEST_BYTES, FILES)
        if not message:
            return
        memory, report, control = files
        try:
            children |= _start(json.loads(message), memory, report, control)
        finally:
            for file in files:
                os.close(file)


def _start(request: Mapping[str, Any], memory: int, report: int, control: int) -> set[int]:
    """Fork the child and report its pid, or why that was not possible."""
    with socket.socket(fileno=os.dup(control)) as reply:
        try:
            work, parent = _work(request["work"]), os.getpid()
            child = os.fork()
        except Exception as error:
            _send(reply, {"error": f"{type(error).__name__}: {error}"})
            return set()
        if child == 0:
            _child(work, request, memory, report, parent)
        handle = _handle(child)
        if not _send(reply, {"pid": child}, handle):  # nobody waits for it any more
            os.kill(child, signal.SIGKILL)
        for file in handle:
            os.close(file)
    return {child}


def _work(name: str) -> Work:
    """What `module:function` names; imported here once, since the child cannot."""
    module, function = name.split(":")
    if module not in sys.modules:
        import_module(module)
        gc.collect()
        gc.freeze()  # so that memory pages stay shared with the children
    work: Work = getattr(sys.modules[module], function)
    return work


def _handle(child: int) -> Sequence[int]:
    """A pidfd of the child, if the system has them: a pid may be used again for another process."""
    try:
        return (os.pidfd_open(child),)
    except (AttributeError, OSError):  # macOS; a kernel before 5.3
        return ()


def _send(reply: socket.socket, what: Mapping[str, Any], files: Sequence[int] = ()) -> bool:
    try:
        socket.send_fds(reply, [json.dumps(what).encode()], files)
    except OSError:
        return False
    return True


def _child(
    work: Work, request: Mapping[str, Any], memory: int, report: int, parent: int
) -> NoReturn:
    """Do the work, report, and end the process."""
    result: dict[str, Any]
    try:
        flags = mmap.MAP_SHARED | (_POPULATE if request["is_held"] else 0)
        shared = np.frombuffer(mmap.mmap(memory, request["size"], flags=flags), np.uint8)
        output, given = np.split(shared, [request["memory_bytes"]])
        data = given.tobytes()
        confinement.confine(report, confinement.Allowance(**request["allowance"]), parent)
        result = {"answer": work(data, output, request["arguments"])}
    except MemoryError:
        result = {"error": "out of memory"}
    except BaseException as error:  # noqa: B036 - nothing may leave this process
        result = {"error": str(error)[:200] or type(error).__name__}
    with contextlib.suppress(BaseException):
        os.write(report, json.dumps(result).encode()[: MAX_REPORT_BYTES - 1] + b"\n")
    os._exit(0)


if __name__ == "__main__":
    main()
