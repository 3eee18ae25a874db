"""A worker is alive while its device makes progress."""

import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest

from workers.gpu import liveness
from workers.gpu.batcher import Batcher
from workers.gpu.liveness import check
from workers.watchdog import RESTART_EXIT_CODE, Watchdog

PATIENCE_S = 10


class Device:
    """Hangs until its gate opens."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.busy = threading.Event()

    def run(self, bin: Hashable, items: Sequence[Any]) -> Sequence[Any]:
        self.busy.set()
        assert self.gate.wait(PATIENCE_S)
        return items


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def batcher(device: Device) -> Iterator[Batcher]:
    started = Batcher(device.run, lambda bin: 1)
    yield started
    device.gate.set()
    started.stop()


def test_an_idle_device_is_alive(batcher: Batcher) -> None:
    assert check(batcher, hang_s=0.0) is None


def test_a_device_with_a_batch_that_takes_its_time_is_alive(
    batcher: Batcher, device: Device
) -> None:
    batcher.submit("a", 1)
    assert device.busy.wait(PATIENCE_S)

    assert check(batcher, hang_s=60) is None


def test_a_batch_that_takes_too_long_is_a_device_that_hangs(
    batcher: Batcher, device: Device
) -> None:
    batcher.submit("a", 1)
    assert device.busy.wait(PATIENCE_S)
    end = time.monotonic() + PATIENCE_S
    while batcher.busy_s() < 0.02 and time.monotonic() < end:
        time.sleep(0.005)

    assert "at one batch" in str(check(batcher, hang_s=0.01))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_work_in_front_of_a_dead_thread_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(bin: Hashable, items: Sequence[Any]) -> Sequence[Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(liveness, "IGNORED_S", 0.02)
    batcher = Batcher(die, lambda bin: 1)
    batcher.submit("a", 1)
    batcher._device.join(PATIENCE_S)

    end = time.monotonic() + PATIENCE_S
    while check(batcher, hang_s=0.02) is None and time.monotonic() < end:
        time.sleep(0.005)

    assert check(batcher, hang_s=0.02)


def test_the_watchdog_ends_a_process_whose_device_hangs(batcher: Batcher, device: Device) -> None:
    ended, codes = threading.Event(), []
    hangs = partial(check, batcher, 0.05)
    watchdog = Watchdog([hangs], every_s=0.005, end=lambda code: codes.append(code) or ended.set())
    watchdog.start()
    batcher.submit("a", 1)

    assert ended.wait(PATIENCE_S)
    assert codes == [RESTART_EXIT_CODE]


def test_the_watchdog_leaves_a_working_process_alone(batcher: Batcher, device: Device) -> None:
    device.gate.set()
    codes: list[int] = []
    watchdog = Watchdog([partial(check, batcher, 0.5)], every_s=0.05, end=codes.append)
    watchdog.start()
    for number in range(50):
        batcher.submit("a", number).result(PATIENCE_S)
        time.sleep(0.02)
    watchdog.stop()

    assert codes == [], "a second of short batches is no batch of a second"
