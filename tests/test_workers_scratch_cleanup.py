"""A worker counts what lies in scratch, and does not work where others cannot read it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from disks import fill, small_disk
from stack import Stack

from storage import catalogue
from storage.redis.calls import SyncRedis
from tasks import clients
from tasks.settings import settings
from workers import boot, scratch_cleanup
from workers.heartbeat import worker_info

pytest_plugins = ["inprocess"]


def announce(link: SyncRedis, host_id: str) -> None:
    """A cpu worker whose scratch folder is there."""
    link.do(
        catalogue.announce(
            "cpu-1@other", {**worker_info("cpu", ["cpu"], "cpu"), "host_id": host_id}, {}
        )
    )


def usage() -> catalogue.ScratchUsage:
    """What a worker measures."""
    measured = scratch_cleanup.usage()
    assert measured
    return measured


def test_what_lies_in_scratch_is_counted(in_process: None) -> None:
    before = usage()["used"]
    clients.scratch().put(f"{settings().installation}:run:1:input", np.zeros(1000, np.uint8))

    assert usage()["used"] - before >= 1000


@pytest.fixture
def small(in_process: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A scratch folder of 32 MiB."""
    with small_disk(32) as folder:
        monkeypatch.setenv("PIXELMILL_SCRATCH_DIR", str(folder))
        settings.cache_clear()
        yield folder


def test_without_a_setting_a_quarter_of_the_room_may_be_used(small: Path) -> None:
    assert usage()["most"] == 8 * 2**20


def test_what_others_take_is_no_room(small: Path) -> None:
    clients.scratch().put(f"{settings().installation}:run:1:input", np.zeros(2**20, np.uint8))
    filler = fill(small, leave_mib=4)
    little = usage()
    fill(small)
    none = usage()
    filler.unlink()

    assert 2**20 < little["used"] < 2 * 2**20
    assert 2**20 < little["most"] - little["used"] < 3 * 2**20, "two are a reserve"
    assert none["most"] == none["used"] == little["used"]
    assert usage()["most"] == 8 * 2**20


def test_a_full_folder_without_arrays_of_ours_is_full(small: Path) -> None:
    fill(small)

    assert scratch_cleanup.usage() == {"used": 1, "most": 1}, "0 would be no limit"


def test_the_setting_says_how_much(in_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMILL_SCRATCH_MIB", "3")
    settings.cache_clear()

    assert usage()["most"] == 3 * 2**20


def test_a_worker_that_shares_the_folder_may_work(in_process: None, link: SyncRedis) -> None:
    announce(link, clients.host_id())

    boot._check_scratch_folder()


def test_a_worker_apart_refuses_and_says_what_to_do(
    in_process: None, link: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "GHOST_S", 0)
    announce(link, "another host")

    with pytest.raises(SystemExit, match="PIXELMILL_SCRATCH_URL"):
        boot._check_scratch_folder()


def test_a_worker_apart_may_work_with_a_redis_for_arrays(
    in_process: None, link: SyncRedis, state_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMILL_SCRATCH_URL", state_url)
    settings.cache_clear()
    announce(link, "another host")

    boot._check_scratch_folder()


def test_one_that_died_elsewhere_is_waited_for(
    in_process: None, link: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "WORKER_TTL_MS", 300)
    announce(link, "the host before its restart")

    boot._check_scratch_folder()


def test_a_worker_without_its_folder_says_so(servers: Stack, tmp_path: Path) -> None:
    env = {**servers.env, "PIXELMILL_SCRATCH_DIR": str(tmp_path / "missing")}

    ended = subprocess.run(
        [sys.executable, "-m", "workers", "cpu"], env=env, cwd=tmp_path, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip

    assert ended.returncode == 1
    assert "no scratch folder" in ended.stderr and "missing" in ended.stderr


def test_a_worker_removes_what_was_left_over(stack: Stack) -> None:
    """An array of a run that nobody knows, from before the worker was started."""
    folder = Path("/dev/shm")
    installation = settings_of(stack)
    left = folder / f"pixelmill-{installation}-{'f' * 32}-1-input"
    left.write_bytes(b"left")
    os.utime(left, (1, 1))

    os.kill(stack.processes["cpu-worker"].pid, signal.SIGTERM)
    stack.processes["cpu-worker"].wait(20)
    stack.start("cpu-worker", [sys.executable, "-m", "workers", "cpu"])

    stack.wait_for("cpu-worker", lambda: not left.exists(), 20)
    stack.wait_until_live()


def test_the_last_worker_to_stop_leaves_no_array(stack: Stack) -> None:
    """A photo that waits for its next stage would lie in memory for ever."""
    left = Path("/dev/shm") / f"pixelmill-{settings_of(stack)}-{'e' * 32}-1-input"
    workers = {name: stack.processes[name] for name in ("cpu-worker", "gpu-worker")}
    left.write_bytes(b"left")

    os.kill(workers["cpu-worker"].pid, signal.SIGTERM)
    workers["cpu-worker"].wait(60)
    assert left.exists()
    os.kill(workers["gpu-worker"].pid, signal.SIGTERM)
    workers["gpu-worker"].wait(60)

    try:
        assert not left.exists()
    finally:
        stack.start_workers()
        stack.wait_until_live()


def settings_of(stack: Stack) -> str:
    """The installation's short name."""
    from tasks.settings import read

    return read(None, secret=stack.env["PIXELMILL_SECRET"]).installation
