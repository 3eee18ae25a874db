"""Arrays between stages: files in shared memory on one host, a Redis of its own across hosts."""

import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import redis
from numpy.typing import NDArray
from redis.exceptions import RedisError

from storage.errors import StorageDown

TTL_S = 3600
MAPPED_ABOVE = 256 * 1024
"""Bytes; mapping a smaller file costs more than copying it."""
HEAD = 64
"""Bytes before the pixels: dtype and shape, so that these stay aligned. np.save's own header is a
Python literal, and parsing it took a tenth of a small job's CPU."""


class Scratch(Protocol):
    """Name -> array, short-lived. A missing name is FileNotFoundError."""

    def put(self, name: str, array: NDArray[np.generic]) -> None:
        """Keep an array until `delete`."""

    def get(self, name: str) -> NDArray[np.generic]:
        """The array, read-only."""

    def delete(self, *names: str) -> None:
        """Forget these; missing ones are no error."""


def name(installation: str, run: str, number: int, array: str) -> str:
    """`<installation>:<run>:<n>:<array>`; runs never share arrays, nor do attempts at a run."""
    return f"{installation}:{run}:{number}:{array}"


class FolderScratch:
    """Files under `folder`, which should be memory (/dev/shm): a 3 MB array costs about 1 ms."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._prefix = str(folder / "pixelmill-")  # a Path per array costs more than the array

    def put(self, name: str, array: NDArray[np.generic]) -> None:
        """Keep an array until `delete`. StorageDown when the folder is full."""
        path = self._path(name)
        try:
            with open(path, "wb", buffering=0) as file:
                for part in _packed(array):
                    _write_all(file.fileno(), part)
        except OSError as error:
            self.delete(name)
            raise StorageDown(f"no room for scratch arrays in {self.folder}: {error}") from error

    def get(self, name: str) -> NDArray[np.generic]:
        """The array, read-only; big ones are mapped, not copied."""
        with open(self._path(name), "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size > MAPPED_ABOVE:
                return _unpacked(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            return _unpacked(file.read())

    def delete(self, *names: str) -> None:
        """Forget these; missing ones are no error."""
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._prefix}{name.replace(':', '-')}"


class RedisScratch:
    """Values with a time to live in a Redis that is neither broker nor cache."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client: Any = client  # answers bytes: made without decode_responses

    def put(self, name: str, array: NDArray[np.generic]) -> None:
        """Keep an array for TTL_S at most."""
        try:
            self.client.set(f"px1:scratch:{name}", b"".join(_packed(array)), ex=TTL_S)
        except (RedisError, OSError) as error:
            raise StorageDown(f"scratch Redis did not answer: {error}") from error

    def get(self, name: str) -> NDArray[np.generic]:
        """The array, read-only."""
        try:
            found = self.client.get(f"px1:scratch:{name}")
        except (RedisError, OSError) as error:
            raise StorageDown(f"scratch Redis did not answer: {error}") from error
        if found is None:
            raise FileNotFoundError(name)
        return _unpacked(found)

    def delete(self, *names: str) -> None:
        """Forget these; missing ones are no error."""
        try:
            self.client.delete(*(f"px1:scratch:{name}" for name in names))
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


def _write_all(file: int, data: bytes | memoryview) -> None:
    """os.write may write less than it was given: a full disk says so at the next call only."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
