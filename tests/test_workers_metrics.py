"""Where a worker says that its own numbers are."""

import os
import time

import psutil
import pytest

from tasks.settings import settings
from workers import metrics


@pytest.mark.parametrize(
    ("bound", "announced"), [("0.0.0.0", "127.0.0.1"), ("", "127.0.0.1"), ("10.1.2.3", "10.1.2.3")]
)
def test_a_server_on_all_addresses_is_announced_by_the_one_towards_redis(
    monkeypatch: pytest.MonkeyPatch, bound: str, announced: str
) -> None:
    monkeypatch.setattr(settings(), "state_url", "redis://127.0.0.1:6379/0")

    assert metrics._reached(bound) == announced


def test_a_host_is_busy_or_idle_and_has_memory() -> None:
    shown = {
        (sample.name, *sample.labels.values()): sample.value
        for family in metrics.host()
        for sample in family.samples
    }

    cores = os.cpu_count() or 1
    up_s = time.time() - psutil.boot_time()
    busy_s, idle_s = (shown["pixelmill_host_cpu_seconds_total", of] for of in ("busy", "idle"))
    assert busy_s > 0 and idle_s > 0 and busy_s + idle_s <= 1.1 * cores * up_s
    available, total = (shown["pixelmill_host_memory_bytes", of] for of in ("available", "total"))
    assert 0 < available < total
