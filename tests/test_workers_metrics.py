"""Where a worker says that its own numbers are."""

import os
import time

import psutil

from workers import metrics


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
