"""Arrays that one stage leaves for the next: files in shared memory, or values in a Redis.

Files serve all workers of one host. Workers on several hosts need the scratch Redis.
"""

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
from typing import TYPE_CHECKING, Any, Protocol

import redis
from redis.exceptions import RedisError

from storage import keys
from storage.errors import StorageDown
from storage.private_files import locked_file, own_file, write_new
from storage.redis.calls import MAYBE_TEXT, NUMBER, TEXT, Call, SyncRedis, command

if TYPE_CHECKING:  # `pixelmill up` and web processes use the stores, and never an array
    from numpy.typing import NDArray

TTL_S = 3600
NOT_SHARED = (
    "workers on other hosts or in other containers cannot read the arrays in this folder: "
    "set PIXELMILL_SCRATCH_URL to a Redis for these arrays, on all workers"
)
MAPPED_ABOVE = 256 * 1024
"""Files of more bytes are mapped into memory; a smaller one is copied, which costs less."""
_MAPPED = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
"""All pages at once, which costs half of one after the other."""


@dataclass(frozen=True)
class Usage:
    """How full a scratch store is."""

    used: int
    """Bytes that the arrays of this installation take."""
    room: int
    """Bytes that the store has in all, used or free; 0 if that is unknown."""
    free: int
    """Bytes that are still free; unknown where `room` is 0."""


class Scratch(Protocol):
    """Stores arrays by name for a short time."""

    def put(self, name: str, array: "NDArray[Any]") -> None:
        """Store an array. Raises StorageDown if there is no room for it."""

    def get(self, name: str) -> "NDArray[Any]":
        """The array, read-only. Raises FileNotFoundError if there is none of this name."""

    def delete(self, *names: str) -> None:
        """Delete these arrays; those that do not exist are ignored."""

    def usage(self, installation: str) -> Usage:
        """How full the store is."""

    def older_than(self, installation: str, age_s: float) -> list[str]:
        """Names of the arrays of this installation that were stored more than `age_s` ago."""


def name(installation: str, request_key: str, attempt: int, array: str) -> str:
    """The name of an array of one attempt at a run. No other attempt or run uses it."""
    return f"{installation}:{request_key}:{attempt}:{array}"


def run_of(name: str) -> tuple[str, int]:
    """Request key and attempt of the run that an array of this name belongs to."""
    request_key, attempt, _ = name.split(":", 1)[1].rsplit(":", 2)
    return request_key, int(attempt)


class FolderScratch:
    """Files in `folder`, which should be in memory (/dev/shm): an array of 3 MB takes 1 ms."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._prefix = str(folder / "pixelmill-")  # building a Path for each array takes longer

    def put(self, name: str, array: "NDArray[Any]") -> None:
        """Store an array. Raises StorageDown if the folder is full."""
        try:
            parts = _packed(array)
            is_large = array.nbytes > MAPPED_ABOVE
            write_new(self._path(name), parts if is_large else [b"".join(parts)])
        except OSError as error:
            with suppress(OSError):  # the folder is gone, or the file belongs to another user
                self.delete(name)
            raise StorageDown(f"no room for scratch arrays in {self.folder}: {error}") from error

    def get(self, name: str) -> "NDArray[Any]":
        """The array, read-only. A large one is mapped into memory and not copied."""
        file, size = own_file(self._path(name))
        try:
            if size > MAPPED_ABOVE:
                return _unpacked(mmap.mmap(file, 0, _MAPPED, mmap.PROT_READ))
            return _unpacked(os.read(file, size))
        finally:
            os.close(file)

    def delete(self, *names: str) -> None:
        """Delete these arrays; those that do not exist are ignored."""
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(self._path(name))

    def hold(self, installation: str) -> FileIO:
        """Lock the arrays of this installation against `clear`, until the file is closed."""
        return locked_file(self._lock(installation), fcntl.LOCK_SH)

    def clear(self, installation: str) -> int:
        """Delete all arrays of this installation, unless a process has called `hold`.

        Answers how many there were. Their runs restart, as no worker here would continue them soon.
        """
        try:
            lock = locked_file(self._lock(installation), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        with lock:
            names = self.older_than(installation, -60)
            self.delete(*names)
            os.unlink(self._lock(installation))
        return len(names)

    def usage(self, installation: str) -> Usage:
        """How much the files of this installation take, and how full the file system is."""
        file_system = os.statvfs(self.folder)
        used = sum(file.stat(follow_symlinks=False).st_size for file in self._files(installation))
        block = file_system.f_frsize
        return Usage(used, file_system.f_blocks * block, file_system.f_bavail * block)

    def older_than(self, installation: str, age_s: float) -> list[str]:
        """Names of the arrays of this installation that were stored more than `age_s` ago."""
        latest = time.time() - age_s
        return [
            ":".join((installation, *file.name.removeprefix(head).rsplit("-", 2)))
            for head in [f"pixelmill-{installation}-"]
            for file in self._files(installation)
            if file.stat(follow_symlinks=False).st_mtime < latest
        ]

    def host_id(self) -> str:
        """The same text for all processes that share this folder, and for no others.

        The boot id alone does not suffice: containers of one host have it in common, but each has
        its own folder unless they are told to share one.
        """
        folder = os.stat(self.folder)
        return f"{boot_id()}:{folder.st_dev}:{folder.st_ino}"

    def _files(self, installation: str) -> "Iterator[os.DirEntry[str]]":
        with os.scandir(self.folder) as entries:
            for file in entries:
                if file.name.startswith(f"pixelmill-{installation}-"):
                    with suppress(FileNotFoundError):  # it has just been deleted
                        if file.stat(follow_symlinks=False).st_uid == os.geteuid():
                            yield file

    def _lock(self, installation: str) -> str:
        return f"{self._prefix}{installation}.lock"

    def _path(self, name: str) -> str:
        return f"{self._prefix}{name.replace(':', '-')}"


class RedisScratch:
    """Values that expire, in a Redis that is used for nothing else."""

    def __init__(self, client: "redis.Redis") -> None:
        """The client must answer bytes: made without decode_responses."""
        self.client: Any = client
        # A time limit may interrupt a worker in the middle of an answer. redis-py would use the
        # connection again and take the rest for the next answer; SyncRedis closes it.
        self._link = SyncRedis(client, "the scratch Redis")

    def put(self, name: str, array: "NDArray[Any]") -> None:
        """Store an array for at most TTL_S. Raises StorageDown if Redis does not take it."""
        words = ("SET", keys.scratch(name), b"".join(_packed(array)), "EX", TTL_S)
        self._link.do(command(bool, *words, kinds=TEXT))

    def get(self, name: str) -> "NDArray[Any]":
        """The array, read-only."""
        call: Call[bytes | None]
        call = command(lambda answer: answer, "GET", keys.scratch(name), kinds=MAYBE_TEXT)
        packed = self._link.do(call)
        if packed is None:
            raise FileNotFoundError(name)
        return _unpacked(packed)

    def delete(self, *names: str) -> None:
        """Delete these arrays; those that do not exist are ignored."""
        self._link.do(command(bool, "DEL", *map(keys.scratch, names), kinds=NUMBER))

    def usage(self, installation: str) -> Usage:
        """How full Redis is; it stores nothing but arrays."""
        with _mapped():
            memory = self.client.info("memory")
        used, room = int(memory["used_memory"]), int(memory["maxmemory"])
        return Usage(used, room, max(room - used, 0))

    def older_than(self, installation: str, age_s: float) -> list[str]:
        """Names of the arrays of this installation that were stored more than `age_s` ago."""
        with _mapped():
            names = list(self.client.scan_iter(keys.scratch(f"{installation}:*"), count=1000))
            with self.client.pipeline(transaction=False) as commands:
                for key in names:
                    commands.ttl(key)
                left_s = commands.execute()
        return [
            key.decode().removeprefix(keys.scratch(""))
            for key, left in zip(names, left_s, strict=True)
            if TTL_S - left > age_s
        ]


class HostScratch:
    """Files while all workers share this folder, otherwise the scratch Redis."""

    def __init__(
        self, near: FolderScratch, far: RedisScratch | None, is_shared: Callable[[], bool]
    ) -> None:
        """`far` is None without a scratch Redis; `is_shared` says whether all workers are here."""
        self.near, self.far, self._is_shared = near, far, is_shared

    def put(self, name: str, array: "NDArray[Any]") -> None:
        """Store an array where every worker can read it.

        Raises StorageDown if there is no such place, or no room in it.
        """
        self._best().put(name, array)

    def get(self, name: str) -> "NDArray[Any]":
        """The array, from either store: other workers may have started or ended since `put`."""
        try:
            return self.near.get(name)
        except FileNotFoundError:
            if self.far is None:
                raise
            return self.far.get(name)

    def delete(self, *names: str) -> None:
        """Delete the files, and the values in Redis while `put` uses it; left ones expire there."""
        self.near.delete(*names)
        if self.far and not self._is_shared():
            self.far.delete(*names)

    def usage(self, installation: str) -> Usage:
        """How full the store is that `put` uses now."""
        return self._best().usage(installation)

    def older_than(self, installation: str, age_s: float) -> list[str]:
        """Names of the arrays in both stores that were stored more than `age_s` ago."""
        names = self.near.older_than(installation, age_s)
        return names + (self.far.older_than(installation, age_s) if self.far else [])

    def _best(self) -> FolderScratch | RedisScratch:
        if self._is_shared():
            return self.near
        if self.far is None:
            raise StorageDown(NOT_SHARED)
        return self.far


def boot_id() -> str:
    """The same text for all processes on this host, and another one after it has rebooted."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise StorageDown(f"the scratch Redis did not answer: {error}") from error


def _packed(array: "NDArray[Any]") -> tuple[bytes, memoryview]:
    from storage import arrays

    return arrays.packed(array)


def _unpacked(data: bytes | mmap.mmap) -> "NDArray[Any]":
    from storage import arrays

    return arrays.unpacked(data)
