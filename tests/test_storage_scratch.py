"""Both kinds of scratch keep arrays as they were, for a while."""

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from storage import arrays, keys, scratch
from storage.errors import StorageDown
from storage.scratch import MAPPED_ABOVE, FolderScratch, HostScratch, RedisScratch, Scratch

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

    restored = store.get("a:1")

    assert restored.dtype == array.dtype
    np.testing.assert_array_equal(restored, array)


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

    assert 0 < state.ttl(keys.scratch("a:1")) <= scratch.TTL_S


def test_attempts_at_a_run_never_share_arrays() -> None:
    names = {scratch.name("mill", "run", number, "input") for number in (1, 2)}

    assert len(names) == 2


# What it takes, and what is left over


def test_usage_counts_the_bytes_of_this_installation(tmp_path: Path) -> None:
    store = FolderScratch(tmp_path)
    store.put("mill:run:1:input", np.zeros(1000, np.uint8))
    store.put("other:run:1:input", np.zeros(5000, np.uint8))

    usage = store.usage("mill")

    assert usage.used == 1000 + arrays.HEADER_BYTES
    assert usage.room > usage.used


def test_usage_of_redis_is_its_memory(state: "redis.Redis", state_url: str) -> None:
    with redis.Redis.from_url(state_url) as client:
        store = RedisScratch(client)
        before = store.usage("mill").used
        store.put("mill:run:1:input", np.zeros(2**20, np.uint8))

        assert store.usage("mill").used - before >= 2**20


def test_only_old_arrays_of_this_installation_are_old(store: Scratch) -> None:
    for name in ("mill:run-1:1:input", "other:run-1:1:input"):
        store.put(name, np.zeros(3))

    assert store.older_than("mill", -2) == ["mill:run-1:1:input"]
    assert store.older_than("mill", 60) == []


@given(run=st.from_regex(r"[0-9a-z-]{1,32}", fullmatch=True), n=st.integers(1, 10**6))
def test_a_name_tells_its_run(run: str, n: int) -> None:
    assert scratch.run_of(scratch.name("mill", run, n, "input")) == (run, n)


# A folder that is everybody's


def test_files_are_read_by_nobody_else_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    FolderScratch(tmp_path).put("a:1", np.zeros(3))
    os.umask(before)

    [file] = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_link_that_somebody_planted_is_neither_written_through_nor_read(tmp_path: Path) -> None:
    store, victim = FolderScratch(tmp_path / "shm"), tmp_path / "victim"
    store.folder.mkdir()
    store.put("a:1", np.ones(3))
    (store.folder / "pixelmill-a-1").rename(victim)
    written = victim.read_bytes()
    (store.folder / "pixelmill-a-1").symlink_to(victim)

    with pytest.raises(FileNotFoundError):
        store.get("a:1")
    store.put("a:1", np.zeros(2))

    assert victim.read_bytes() == written
    assert store.get("a:1").tolist() == [0, 0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_taken_for_ours(tmp_path: Path) -> None:
    store = FolderScratch(tmp_path)
    store.put("mill:run:1:input", np.ones(3))
    os.chown(tmp_path / "pixelmill-mill-run-1-input", 65534, 65534)

    with pytest.raises(FileNotFoundError):
        store.get("mill:run:1:input")
    assert store.older_than("mill", -2) == []


def test_arrays_are_cleared_once_no_process_holds_them(tmp_path: Path) -> None:
    store = FolderScratch(tmp_path)
    with store.hold("mill"), store.hold("mill"):
        store.put("mill:run:1:input", np.zeros(3))
        assert store.clear("mill") == 0
    store.put("other:run:1:input", np.ones(3))

    assert store.clear("mill") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["pixelmill-other-run-1-input"]


def test_who_holds_arrays_while_the_last_holder_removes_its_lock_still_holds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, lock, flock = FolderScratch(tmp_path), tmp_path / "pixelmill-mill.lock", fcntl.flock

    def flock_once_the_file_is_gone(file: FileIO, operation: int) -> None:
        monkeypatch.undo()
        lock.unlink()  # as `clear` of another worker does between our open and our lock
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock_once_the_file_is_gone)
    with store.hold("mill"):
        store.put("mill:run:1:input", np.zeros(3))

        assert store.clear("mill") == 0


# Near and far


class Near:
    """A host scratch whose neighbours come and go."""

    def __init__(self, folder: Path, client: "redis.Redis | None") -> None:
        self.is_shared = True
        self.near = FolderScratch(folder)
        self.far = RedisScratch(client) if client else None
        self.store = HostScratch(self.near, self.far, lambda: self.is_shared)


@pytest.fixture
def host(tmp_path: Path, state_url: str) -> Iterator[Near]:
    with redis.Redis.from_url(state_url) as client:
        yield Near(tmp_path, client)


def test_arrays_are_files_while_all_workers_see_them(host: Near) -> None:
    host.store.put("a:1", np.ones(3))

    assert host.near.get("a:1").tolist() == [1, 1, 1]


def test_arrays_go_to_redis_once_a_worker_does_not_see_the_files(host: Near) -> None:
    host.is_shared = False
    host.store.put("a:1", np.ones(3))

    assert host.far is not None and host.far.get("a:1").tolist() == [1, 1, 1]
    with pytest.raises(FileNotFoundError):
        host.near.get("a:1")


def test_what_was_put_before_a_worker_came_is_still_found(host: Near) -> None:
    host.store.put("a:1", np.ones(3))
    host.is_shared = False
    host.store.put("a:2", np.zeros(3))
    host.is_shared = True

    assert [host.store.get(name).sum() for name in ("a:1", "a:2")] == [3, 0]


def test_both_kinds_are_deleted_while_both_are_in_use(host: Near) -> None:
    host.store.put("a:1", np.ones(3))
    host.is_shared = False
    host.store.put("a:2", np.ones(3))

    host.store.delete("a:1", "a:2")

    for name in ("a:1", "a:2"):
        with pytest.raises(FileNotFoundError):
            host.store.get(name)


def test_without_a_redis_nothing_is_put_where_others_cannot_read_it(tmp_path: Path) -> None:
    host = Near(tmp_path, None)
    host.is_shared = False

    with pytest.raises(StorageDown, match="PIXELMILL_SCRATCH_URL"):
        host.store.put("a:1", np.ones(3))


def test_two_folders_are_two_places_and_one_is_one(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)

    places = [FolderScratch(tmp_path / name).host_id() for name in ("", "link", "other")]

    assert places[0] == places[1] != places[2]
