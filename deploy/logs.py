"""Log files of the programs of `pixelmill up`: turned by size and age, bounded all together.

The programs write into pipes; a small process of its own takes their lines and writes the files.
So no program needs to open its log anew, no line is lost as a file is turned, a full disk reaches
no program, and a supervisor that dies blocks nobody: the process goes on until all pipes are
closed.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SHARES = 32
"""One file is at most this part of what all logs together may take."""
DAY_S = 86_400.0
TICK_S = 1.0
PRUNE_S = 3600.0
MESSAGE = 128
"""Bytes of a message to the writer: the name of a log, filled up with zeros."""
FLUSH = b"\0flush"
CHUNK = 65_536


@dataclass(frozen=True)
class Limits:
    """How much is kept."""

    most_bytes: int = 64 * 2**20
    """Of all log files together."""
    days: float = 14
    """A file that was turned longer ago is removed."""


class LogFile:
    """One growing file; a full one is renamed to `<name>.<time>.log`, and a new one begun."""

    def __init__(self, path: Path, most_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self.path, self._most, self._clock = path, max(most_bytes, 1), clock
        self._lost = 0
        self._is_amid_a_line = False
        self._file = -1
        self._open()

    def write(self, data: bytes) -> bool:
        """Append whole chunks; whether the file was turned. What a full disk refuses is counted."""
        is_over = self._size > 0 and self._size + len(data) > self._most
        if not (is_over or self._clock() - self._since_s > DAY_S):
            self._append(data)
            return False
        at = data.find(b"\n") + 1 if self._is_amid_a_line else 0
        self._append(data[:at])
        self.turn()
        self._append(data[at:])
        return True

    def turn(self) -> None:
        """Rename the file and begin another; an empty one stays."""
        if self._size:
            with suppress(OSError):
                self.path.rename(_turned_name(self.path, self._clock()))
        self.close()
        self._open()

    def look(self) -> None:
        """Begin anew if somebody has removed the file."""
        if not self.path.exists():
            self.close()
            self._open()

    def close(self) -> None:
        """Give the file back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        self._file, self._size, self._since_s = -1, 0, self._clock()
        with suppress(OSError):  # a full disk has no room for a new name either
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._size = os.fstat(self._file).st_size

    def _append(self, data: bytes) -> None:
        if self._lost and data:
            note = f"[{self._lost} bytes of this log were lost: the disk was full]\n".encode()
            if not self._write(note):
                self._lost += len(data)
                return
            self._lost = 0
        written = self._write(data)
        self._lost += len(data) - written
        if data:
            self._is_amid_a_line = not data.endswith(b"\n")

    def _write(self, data: bytes) -> int:
        """How many bytes the disk took."""
        written = 0
        if self._file < 0:
            self._open()
        with suppress(OSError):
            while written < len(data):
                written += os.write(self._file, data[written:])
        self._size += written
        return written


def prune(folder: Path, limits: Limits, now_s: float) -> None:
    """Remove turned files that are too old, then the oldest while all together are too large."""
    turned, left = _turned(folder), 0
    with suppress(OSError):
        left = sum(file.stat().st_size for file in folder.glob("*.log"))
    for file in sorted(turned, key=lambda one: one.stat().st_mtime):
        found = file.stat()
        if left > limits.most_bytes or now_s - found.st_mtime > limits.days * DAY_S:
            left -= found.st_size
            file.unlink(missing_ok=True)


class Logs:
    """The supervisor's side: hands each program a pipe, and keeps the writer alive."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.folder, self.limits = folder, limits or Limits()
        folder.mkdir(parents=True, exist_ok=True)
        self._pipes: dict[str, tuple[int, int]] = {}
        self._start()

    def path(self, name: str) -> Path:
        """The file that the program of this name writes now."""
        return self.folder / f"{name}.log"

    def pipe(self, name: str) -> int:
        """What the program of this name writes into; the same after it was started again."""
        if name not in self._pipes:
            self._pipes[name] = os.pipe()
            self._send(name)
        return self._pipes[name][1]

    def poll(self) -> None:
        """Start the writer again if it has died; what lies in the pipes meanwhile is kept."""
        if self._process.poll() is not None:
            self._control.close()
            self._start()
            for name in self._pipes:
                self._send(name)

    def flush(self) -> None:
        """Return when what was written so far is in the files, or after a second."""
        with suppress(OSError):
            self._control.sendall(FLUSH.ljust(MESSAGE, b"\0"))
            self._control.recv(1)

    def close(self) -> None:
        """No more will come: the writer ends by itself once every program has ended."""
        for ends in self._pipes.values():
            for end in ends:
                os.close(end)
        self._pipes.clear()
        self._control.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2)

    def _start(self) -> None:
        self._control, theirs = socket.socketpair()
        self._control.settimeout(1)
        limits = [str(self.limits.most_bytes), str(self.limits.days)]
        command = [sys.executable, "-m", "deploy.logs", str(self.folder), *limits]
        own = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONMALLOC": "malloc"}
        self._process = subprocess.Popen(
            [*command, str(theirs.fileno())],
            env={**os.environ, **own},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()

    def _send(self, name: str) -> None:
        with suppress(OSError):  # the next poll starts another writer, and sends it all again
            message = name.encode().ljust(MESSAGE, b"\0")
            socket.send_fds(self._control, [message], [self._pipes[name][0]])


class _Writer:
    """The process that writes the files."""

    def __init__(self, folder: Path, limits: Limits, control: socket.socket) -> None:
        self._folder, self._limits, self._control = folder, limits, control
        self._files: dict[int, LogFile] = {}
        self._poller = select.poll()
        self._poller.register(control, select.POLLIN)
        self._is_told = True
        self._pruned_s = 0.0

    def run(self) -> None:
        """Until the supervisor and all programs are gone."""
        while self._is_told or self._files:
            for descriptor, _ in self._poller.poll(TICK_S * 1000):
                if descriptor == self._control.fileno():
                    self._hear()
                else:
                    self._take(descriptor)
            self._tick()

    def _hear(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE, 1)
        except OSError:
            message, descriptors = b"", []
        if not message:
            self._is_told = False
            self._poller.unregister(self._control)
        elif message.startswith(FLUSH):
            self._drain()
            with suppress(OSError):
                self._control.sendall(b".")
        elif descriptors:
            self._begin(message.rstrip(b"\0").decode(), descriptors[0])

    def _begin(self, name: str, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        most = self._limits.most_bytes // SHARES
        self._files[descriptor] = LogFile(self._folder / f"{name}.log", most)
        self._poller.register(descriptor, select.POLLIN)

    def _take(self, descriptor: int) -> bool:
        """Whether there was something to write."""
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return False
        if not data:  # nobody can write into it any more
            self._poller.unregister(descriptor)
            self._files.pop(descriptor).close()
            os.close(descriptor)
            return False
        if self._files[descriptor].write(data):
            self._prune()
        return True

    def _drain(self) -> None:
        for descriptor in list(self._files):
            while self._take(descriptor):
                pass

    def _tick(self) -> None:
        for file in self._files.values():
            file.look()
        if time.time() - self._pruned_s > PRUNE_S:
            self._prune()

    def _prune(self) -> None:
        self._pruned_s = time.time()
        with suppress(OSError):
            prune(self._folder, self._limits, self._pruned_s)


def turn_all(folder: Path) -> None:
    """Before a start: the logs of the run before become turned files."""
    for file in set(folder.glob("*.log")) - set(_turned(folder)):
        with suppress(OSError):
            if file.stat().st_size:
                file.rename(_turned_name(file, file.stat().st_mtime))


def _turned(folder: Path) -> list[Path]:
    return list(folder.glob("*.????-??-??T??-??-??*.log"))


def _turned_name(path: Path, at_s: float) -> Path:
    """One that is free, and sorts by time."""
    stamp = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(at_s))
    return next(name for name in _names(path, stamp) if not name.exists())


def _names(path: Path, stamp: str) -> Iterator[Path]:
    yield path.with_name(f"{path.stem}.{stamp}.log")
    for number in range(1, 10_000):
        yield path.with_name(f"{path.stem}.{stamp}.{number}.log")


def main() -> None:
    """The writer's process."""
    folder, most_bytes, days, control = sys.argv[1:5]
    # It ends with what it writes for, also where a signal goes to a whole service at once.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    limits = Limits(int(most_bytes), float(days))
    _Writer(Path(folder), limits, socket.socket(fileno=int(control))).run()


if __name__ == "__main__":
    main()
