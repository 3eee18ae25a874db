"""Log files: rotated by size and age, and limited in size all together."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

DAY_S = 86_400.0


@dataclass(frozen=True)
class Limits:
    """How much is kept."""

    most_bytes: int = 64 * 2**20
    """Of all log files together."""
    days: float = 14
    """A file that was rotated longer ago is removed."""


class LogFile:
    """One growing file; when it is full or a day old it becomes `<name>.<time>.log`."""

    def __init__(self, path: Path, most_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self.path, self._most, self._clock = path, max(most_bytes, 1), clock
        self._lost = 0
        self._ends_inside_a_line = False
        self._file = -1
        self._open()

    def write(self, data: bytes) -> bool:
        """Append the data; returns whether the file was rotated.

        Lines are not torn apart. What a full disk refuses is lost, and its size noted later on.
        """
        is_full = self._size > 0 and self._size + len(data) > self._most
        if not (is_full or self._clock() - self._opened_s > DAY_S):
            self._append(data)
            return False
        at = data.find(b"\n") + 1 if self._ends_inside_a_line else 0
        self._append(data[:at])
        self.rotate()
        self._append(data[at:])
        return True

    def rotate(self) -> None:
        """Rename the file and begin a new one; an empty file stays."""
        if self._size:
            with suppress(OSError):
                self.path.rename(_rotated_name(self.path, self._clock()))
        self.close()
        self._open()

    def reopen_if_removed(self) -> None:
        """Begin a new file if somebody has removed this one."""
        if not self.path.exists():
            self.close()
            self._open()

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        self._file, self._size, self._opened_s = -1, 0, self._clock()
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
            self._ends_inside_a_line = not data.endswith(b"\n")

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


def rotate_all(folder: Path) -> None:
    """Rotate the logs of an earlier run; called before a start."""
    for file in set(folder.glob("*.log")) - set(_rotated(folder)):
        with suppress(OSError):
            if file.stat().st_size:
                file.rename(_rotated_name(file, file.stat().st_mtime))


def prune(folder: Path, limits: Limits, now_s: float) -> None:
    """Remove rotated files that are too old, then the oldest until all files together fit."""
    rotated, total = _rotated(folder), 0
    with suppress(OSError):
        total = sum(file.stat().st_size for file in folder.glob("*.log"))
    for file in sorted(rotated, key=lambda path: path.stat().st_mtime):
        status = file.stat()
        if total > limits.most_bytes or now_s - status.st_mtime > limits.days * DAY_S:
            total -= status.st_size
            file.unlink(missing_ok=True)


def _rotated(folder: Path) -> list[Path]:
    return list(folder.glob("*.????-??-??T??-??-??*.log"))


def _rotated_name(path: Path, at_s: float) -> Path:
    """A name that is free, and sorts by time."""
    stamp = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(at_s))
    return next(name for name in _names(path, stamp) if not name.exists())


def _names(path: Path, stamp: str) -> Iterator[Path]:
    yield path.with_name(f"{path.stem}.{stamp}.log")
    for number in count(1):
        yield path.with_name(f"{path.stem}.{stamp}.{number}.log")
