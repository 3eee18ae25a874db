"""Arrays between stages: files in shared memory on one host, a Redis of its own across hosts."""

import io
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import redis
from numpy.typing import NDArray
from redis.exceptions import RedisError

from storage.errors import StorageDown

TTL_S = 3600
MAPPED_ABOVE = 256 * 1024
"""Bytes; mapping a smaller file costs more than copying it."""


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

    def put(self, name: str, array: NDArray[np.generic]) -> None:
        """Keep an array until `delete`. StorageDown when the folder is full."""
        try:
            np.save(self._path(name), array, allow_pickle=False)
        except OSError as error:
            self._path(name).unlink(missing_ok=True)
            raise StorageDown(f"no room for scratch arrays in {self.folder}: {error}") from error

    def get(self, name: str) -> NDArray[np.generic]:
        """The array, read-only; big ones are mapped, not copied."""
        path = self._path(name)
        mode: Literal["r"] | None = "r" if path.stat().st_size > MAPPED_ABOVE else None
        array: NDArray[np.generic] = np.load(path, mmap_mode=mode, allow_pickle=False)
        array.flags.writeable = False
        return array

    def delete(self, *names: str) -> None:
        """Forget these; missing ones are no error."""
        for name in names:
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"pixelmill-{name.replace(':', '-')}.npy"


class RedisScratch:
    """Values with a time to live in a Redis that is neither broker nor cache."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client: Any = client  # answers bytes: made without decode_responses

    def put(self, name: str, array: NDArray[np.generic]) -> None:
        """Keep an array for TTL_S at most."""
        out = io.BytesIO()
        np.save(out, array, allow_pickle=False)
        try:
            self.client.set(f"px1:scratch:{name}", out.getvalue(), ex=TTL_S)
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
        array: NDArray[np.generic] = np.load(io.BytesIO(found), allow_pickle=False)
        array.flags.writeable = False
        return array

    def delete(self, *names: str) -> None:
        """Forget these; missing ones are no error."""
        try:
            self.client.delete(*(f"px1:scratch:{name}" for name in names))
        except (RedisError, OSError) as error:
            raise StorageDown(f"scratch Redis did not answer: {error}") from error
