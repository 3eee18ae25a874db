"""What bytes might do that took a decoder over: work for the sandbox, run in its child alone."""

import ctypes
import os
import signal
import socket
import sys
import threading
import time

import numpy as np


def write(data, memory, arguments):
    memory[:3] = [7, 8, 9]
    return {"height": 3, "data": data.decode(), **arguments}


def slow_write(data, memory, arguments):
    end = time.monotonic() + 1
    while time.monotonic() < end:  # it may not sleep
        pass
    return write(data, memory, arguments)


def nothing(data, memory, arguments):
    return {}


def look(data, memory, arguments):
    """What lies in memory that nobody has written to yet."""
    return {"sum": int(memory.sum())}


def fail(data, memory, arguments):
    raise RuntimeError("broken data stream at 0x7f")


def crash(data, memory, arguments):
    ctypes.string_at(0)


def leave(data, memory, arguments):
    os._exit(0)


def loop(data, memory, arguments):
    while True:
        pass


def stall(data, memory, arguments):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def fill(data, memory, arguments):
    np.ones(300 * 2**20, np.uint8)


def answer_otherwise(data, memory, arguments):
    return arguments["answer"]


def answer_no_json(data, memory, arguments):
    return object()


def answer_much(data, memory, arguments):
    return "x" * 10_000


def try_all(data, memory, arguments):
    """Name of a deed -> why it failed, or `done`."""
    parent = arguments["parent"]
    deeds = {
        "open": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "read the environment": lambda: os.open(f"/proc/{parent}/environ", os.O_RDONLY),
        "read the memory": lambda: os.open(f"/proc/{parent}/mem", os.O_RDONLY),
        "socket": lambda: socket.socket(),
        "fork": os.fork,
        "thread": lambda: threading.Thread(target=print).start(),
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "kill": lambda: os.kill(parent, signal.SIGUSR2),
        "stay": lambda: signal.setitimer(signal.ITIMER_REAL, 0),
        "ptrace": lambda: _call("ptrace", 16, parent, 0, 0),
        "process_vm_readv": lambda: _call("process_vm_readv", parent, 0, 0, 0, 0, 0),
        "executable memory": _executable,
        "become root": lambda: os.setuid(0),
        "write a file": lambda: os.open("/tmp", os.O_TMPFILE | os.O_RDWR),
    }
    return {name: _outcome(deed) for name, deed in deeds.items()}


def modules(data, memory, arguments):
    return {"settings": "tasks.settings" in sys.modules, "environ": dict(os.environ)}


def search(data, memory, arguments):
    """How often bytes are found in this process's own memory; it may look at no map of it."""
    flipped = bytes(arguments["flipped"])
    return {"found": sum(_count(*part, flipped) for part in _maps)}


def read_maps():
    """In the helper, before the fork: the child can open no file."""
    parts = []
    with open("/proc/self/maps") as file:
        for line in file:
            where, rights = line.split()[:2]
            if rights.startswith("rw"):
                start, end = (int(number, 16) for number in where.split("-"))
                parts.append((start, end - start))
    return parts


_maps = read_maps() if os.path.exists("/proc/self/maps") else []


def crowd(data, memory, arguments):
    """A fork bomb: how many processes it got."""
    born = 0
    for _ in range(100):
        try:
            if os.fork() == 0:
                time.sleep(60)
        except OSError:
            continue
        born += 1
    return {"born": born}


def _count(start, size, flipped):
    """The bytes themselves are written nowhere: they would be found."""
    memory = np.frombuffer((ctypes.c_uint8 * size).from_address(start), np.uint8)
    return (memory ^ 255).tobytes().count(flipped)


def _call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def _executable():
    import mmap

    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def _outcome(deed):
    try:
        deed()
    except (OSError, RuntimeError) as error:
        return type(error).__name__
    return "done"
