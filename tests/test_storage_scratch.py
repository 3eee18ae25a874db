"""Both kinds of scratch keep arrays as they were, for a while."""

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis

from storage import scratch
from storage.errors import StorageDown
from storage.scratch import MAPPED_ABOVE, FolderScratch, RedisScratch, Scratch

pytest_plugins = ["inprocess"]


@pytest.fixture(params=["folder", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scratch]:
    if request.param == "folder":
        yield FolderScratch(tmp_path)
        return
    with redis.Redis.from_url(request.getfixturevalue("state_url")) as client:
        yield RedisScratch(client)


@pytest.fixture(params=["folder", "redis"])
def dead(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scratch]:
    """A folder that takes nothing, a Redis that is not there."""
    if request.param == "folder":
        yield FolderScratch(tmp_path / "missing")
        return
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with redis.Redis(port=taken.getsockname()[1], retry=None) as client:
            yield RedisScratch(client)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
        np.array([[0.25, -1.5]], np.float32),
        np.zeros((0, 4), np.float16),
        np.array(7),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.ones(MAPPED_ABOVE, np.uint8),
    ],
    ids=["image", "floats", "empty", "scalar", "fortran", "mapped"],
)
def test_an_array_comes_back_as_it_was(store: Scratch, array: np.ndarray) -> None:
    store.put("a:1", array)

    found = store.get("a:1")

    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("size", [8, MAPPED_ABOVE])
def test_what_comes_back_cannot_be_written_to(store: Scratch, size: int) -> None:
    store.put("a:1", np.zeros(size, np.uint8))

    with pytest.raises(ValueError, match="read-only"):
        store.get("a:1")[0] = 1


def test_a_missing_name_is_file_not_found(store: Scratch) -> None:
    with pytest.raises(FileNotFoundError):
        store.get("nothing")


def test_a_second_put_replaces_the_first(store: Scratch) -> None:
    store.put("a:1", np.zeros(3))
    store.put("a:1", np.ones(2))

    assert store.get("a:1").tolist() == [1, 1]


def test_a_deleted_array_is_gone_and_its_neighbour_is_not(store: Scratch) -> None:
    store.put("a:1", np.zeros(3))
    store.put("a:2", np.ones(3))

    store.delete("a:1")

    with pytest.raises(FileNotFoundError):
        store.get("a:1")
    assert store.get("a:2").tolist() == [1, 1, 1]


def test_deleting_what_is_not_there_is_no_error(store: Scratch) -> None:
    store.delete("never", "was")


def test_a_store_that_takes_nothing_is_storage_down(dead: Scratch) -> None:
    with pytest.raises(StorageDown):
        dead.put("a:1", np.zeros(3))


def test_a_redis_that_is_away_is_storage_down_to_readers_too() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with redis.Redis(port=taken.getsockname()[1], retry=None) as client:
            store = RedisScratch(client)

            with pytest.raises(StorageDown):
                store.get("a:1")
            with pytest.raises(StorageDown):
                store.delete("a:1")


def test_arrays_in_redis_expire(state: "redis.Redis", state_url: str) -> None:
    with redis.Redis.from_url(state_url) as client:
        RedisScratch(client).put("a:1", np.zeros(3))

    assert 0 < state.ttl("px1:scratch:a:1") <= scratch.TTL_S


def test_attempts_at_a_run_never_share_arrays() -> None:
    names = {scratch.name("mill", "run", number, "input") for number in (1, 2)}

    assert len(names) == 2
