"""Arrays between stages: files in shared memory on one host, a Redis of its own across hosts."""

import fcntl
import mmap
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import redis
from numpy.typing import NDArray
from redis.exceptions import RedisError

from storage import keys
from storage.errors import StorageDown
from storage.private_files import new_file, open_file, own_file, write_all
from storage.redis.calls import MAYBE_TEXT, NUMBER, TEXT, Call, SyncRedis, command

TTL_S = 3600
APART = (
    "workers on other hosts, or in containers of their own, do not see the arrays in this folder: "
    "set PIXELMILL_SCRATCH_URL, a Redis for them, on all workers"
)
MAPPED_ABOVE = 256 * 1024
"""Bytes; mapping a smaller file costs more than copying it."""
HEAD = 64
"""Bytes before the pixels: dtype and shape, so that these stay aligned. np.save's own header is a
Python literal, and parsing it took a tenth of a small job's CPU."""


@dataclass(frozen=True)
class Usage:
    """How full it is."""

    used: int
    """Bytes of this installation's arrays."""
    room: int
    """Bytes that there are for everything, of others as well; 0: nobody knows."""
    free: int
    """Bytes that nobody uses yet; where `room` is 0, nobody knows."""


class Scratch(Protocol):
    """Name -> array, short-lived. A missing name is FileNotFoundError."""

    def put(self, name: str, array: NDArray[np.generic]) -> None:
        """Keep an array until `delete`."""

    def get(self, name: str) -> NDArray[np.generic]:
        """The array, read-only."""

    def delete(self, *names: str) -> None:
        """Forget these; missing ones are no error."""

    def usage(self, installation: str) -> Usage:
        """How much this installation's arrays take."""

    def older_than(self, installation: str, age_s: float) -> list[str]:
        """Names of this installation's arrays that were put longer ago than this."""


def name(installation: str, run: str, number: int, array: str) -> str:
    """`<installation>:<run>:<n>:<array>`; runs never share arrays, nor do attempts at a run."""
    return f"{installation}:{run}:{number}:{array}"


def run_of(name: str) -> tuple[str, int]:
    """The run and the attempt at it that a name belongs to."""
    run, number, _ = name.split(":", 1)[1].rsplit(":", 2)
    return run, int(number)


class FolderScratch:
    """Files under `folder`, which should be memory (/dev/shm): a 3 MB array costs about 1 ms."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._prefix = str(folder / "pixelmill-")  # a Path per array costs more than the array

    def put(self, name: str, array: NDArray[np.generic]) -> None:
        """Keep an array until `delete`. StorageDown when the folder is full."""
        try:
            with new_file(self._path(name)) as file:
                for part in _packed(array):
                    write_all(file.fileno(), part)
        except OSError as error:
            with suppress(OSError):  # the folder is gone, or the file is somebody else's
                self.delete(name)
            raise StorageDown(f"no room for scratch arrays in {self.folder}: {error}") from error

    def get(self, name: str) -> NDArray[np.generic]:
        """The array, read-only; big ones are mapped, not copied."""
        with own_file(self._path(name)) as file:
            if os.fstat(file.fileno()).st_size > MAPPED_ABOVE:
                return _unpacked(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            return _unpacked(file.read())

    def delete(self, *names: str) -> None:
        """Forget these; missing ones are no error."""
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(self._path(name))

    def hold(self, installation: str) -> FileIO:
        """Say that arrays here are in use, until this is closed or the process has ended."""
        file = open_file(self._lock(installation), os.O_RDWR | os.O_CREAT)
        fcntl.flock(file, fcntl.LOCK_SH)
        return file

    def clear(self, installation: str) -> int:
        """Remove all arrays of this installation, unless a process holds them; how many.

        Their runs begin anew: without workers here nobody would go on with them soon.
        """
        with open_file(self._lock(installation), os.O_RDWR | os.O_CREAT) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 0
            names = self.older_than(installation, -60)
            self.delete(*names)
            os.unlink(self._lock(installation))
        return len(names)

    def usage(self, installation: str) -> Usage:
        """Bytes of our files, and of the file system."""
        there = os.statvfs(self.folder)
        used = sum(file.stat(follow_symlinks=False).st_size for file in self._files(installation))
        size = there.f_frsize
        return Usage(used, there.f_blocks * size, there.f_bavail * size)

    def older_than(self, installation: str, age_s: float) -> list[str]:
        """Names of this installation's arrays that were put longer ago than this."""
        begin = time.time() - age_s
        return [
            ":".join((installation, *file.name.removeprefix(head).rsplit("-", 2)))
            for head in [f"pixelmill-{installation}-"]
            for file in self._files(installation)
            if file.stat(follow_symlinks=False).st_mtime < begin
        ]

    def host_id(self) -> str:
        """Equal for all processes that see the same files here: those of one host since its start.

        Containers have one kernel and boot id, but folders of their own unless they share them.
        """
        there = os.stat(self.folder)
        return f"{boot_id()}:{there.st_dev}:{there.st_ino}"

    def _files(self, installation: str) -> "Iterator[os.DirEntry[str]]":
        with os.scandir(self.folder) as found:
            for file in found:
                if file.name.startswith(f"pixelmill-{installation}-"):
                    with suppress(FileNotFoundError):  # deleted meanwhile
                        if file.stat(follow_symlinks=False).st_uid == os.geteuid():
                            yield file

    def _lock(self, installation: str) -> str:
        return f"{self._prefix}{installation}.lock"

    def _path(self, name: str) -> str:
        return f"{self._prefix}{name.replace(':', '-')}"


class RedisScratch:
    """Values with a time to live in a Redis that is neither broker nor cache."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client: Any = client  # answers bytes: made without decode_responses
        # Work may be cut short in the middle of an answer; redis-py would use the connection on.
        self._link = SyncRedis(client, "the scratch Redis")

    def put(self, name: str, array: NDArray[np.generic]) -> None:
        """Keep an array for TTL_S at most."""
        words = ("SET", keys.scratch(name), b"".join(_packed(array)), "EX", TTL_S)
        self._link.do(command(bool, *words, kinds=TEXT))

    def get(self, name: str) -> NDArray[np.generic]:
        """The array, read-only."""
        call: Call[bytes | None] = command(_same, "GET", keys.scratch(name), kinds=MAYBE_TEXT)
        found = self._link.do(call)
        if found is None:
            raise FileNotFoundError(name)
        return _unpacked(found)

    def delete(self, *names: str) -> None:
        """Forget these; missing ones are no error."""
        self._link.do(command(bool, "DEL", *map(keys.scratch, names), kinds=NUMBER))

    def usage(self, installation: str) -> Usage:
        """What Redis says of its memory: it keeps nothing but arrays."""
        with _mapped():
            memory = self.client.info("memory")
        used, room = int(memory["used_memory"]), int(memory["maxmemory"])
        return Usage(used, room, max(room - used, 0))

    def older_than(self, installation: str, age_s: float) -> list[str]:
        """Names of this installation's arrays that were put longer ago than this."""
        with _mapped():
            found = list(self.client.scan_iter(keys.scratch(f"{installation}:*"), count=1000))
            left_s = [self.client.ttl(key) for key in found]
        return [
            key.decode().removeprefix(keys.scratch(""))
            for key, left in zip(found, left_s, strict=True)
            if TTL_S - left > age_s
        ]


class HostScratch:
    """Files while all who work together share this folder, else a Redis, if there is one."""

    def __init__(
        self, near: FolderScratch, far: RedisScratch | None, is_shared: Callable[[], bool]
    ) -> None:
        self.near, self.far, self._is_shared = near, far, is_shared

    def put(self, name: str, array: NDArray[np.generic]) -> None:
        """Keep an array where all who need it can read it; StorageDown if there is no place."""
        self._best().put(name, array)

    def get(self, name: str) -> NDArray[np.generic]:
        """The array, wherever it was put: others may have come or gone meanwhile."""
        try:
            return self.near.get(name)
        except FileNotFoundError:
            if self.far is None:
                raise
            return self.far.get(name)

    def delete(self, *names: str) -> None:
        """Forget these here; in Redis while it is in use, where the rest expires by itself."""
        self.near.delete(*names)
        if self.far and not self._is_shared():
            self.far.delete(*names)

    def usage(self, installation: str) -> Usage:
        """Of where arrays are put now."""
        return self._best().usage(installation)

    def older_than(self, installation: str, age_s: float) -> list[str]:
        """Of both."""
        found = self.near.older_than(installation, age_s)
        return found + (self.far.older_than(installation, age_s) if self.far else [])

    def _best(self) -> FolderScratch | RedisScratch:
        if self._is_shared():
            return self.near
        if self.far is None:
            raise StorageDown(APART)
        return self.far


def boot_id() -> str:
    """Equal for all processes on this host since its last start."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _same(answer: bytes | None) -> bytes | None:
    return answer


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise StorageDown(f"scratch Redis did not answer: {error}") from error


def _packed(array: NDArray[np.generic]) -> tuple[bytes, memoryview]:
    """HEAD bytes that say `dtype shape`, then the pixels."""
    shape = ",".join(map(str, array.shape))
    head = f"{array.dtype.str} {shape}".encode().ljust(HEAD)
    if len(head) > HEAD or array.dtype.hasobject:
        raise ValueError(f"no array of this kind in scratch: {array.dtype} {array.shape}")
    return head, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _unpacked(data: bytes | mmap.mmap) -> NDArray[np.generic]:
    """The array in these bytes, read-only, not copied."""
    dtype, shape = data[:HEAD].decode().split(" ")[:2]
    sides = [int(side) for side in shape.split(",") if side]
    return np.frombuffer(data, np.dtype(dtype), offset=HEAD).reshape(sides)
