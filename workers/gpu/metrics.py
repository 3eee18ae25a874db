"""A gpu worker's own metrics: what its device did, how large its batches were, its memory."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from tasks.message import PROBE

WHAT = ("batches", "items", "failed", "cancelled", "expired", "full", "halved", "smaller_bin",
        "degraded", "cpu", "out_of_memory")  # fmt: skip
"""What batcher and fallback chain count. Zeros are shown as well: rate() misses the first event of
a series that appears with it."""
SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Buckets of batch sizes."""


@dataclass(frozen=True)
class DeviceMetrics:
    """Reads the numbers of a device at each scrape, on the metrics server's thread."""

    name: str
    """`cpu` or `cuda`."""
    counts: Callable[[], Mapping[str, float]]
    sizes: Callable[[], Mapping[tuple[Any, int], int]]
    """(bin, images) -> batches. The first item of a bin is its model's name."""
    models: Sequence[str] = ()
    """The models that are loaded."""
    busy_s: Callable[[], float] = float
    """For how long the device has run batches."""
    sensors: Callable[[], Iterable[Metric]] = list
    """What the driver says of the GPU: workers/gpu/sensors.py."""

    def collect(self) -> Iterable[Metric]:
        """Counts, batch sizes, busy time and memory."""
        counted = CounterMetricFamily(
            "pixelmill_device",
            "Batches, images and failures of the device, by what happened.",
            labels=["what"],
        )
        for what, count in {**dict.fromkeys(WHAT, 0), **self.counts()}.items():
            counted.add_metric([what], count)
        memory = GaugeMetricFamily(
            "pixelmill_device_memory_bytes",
            "Memory of the GPU; on a CPU, that of this process and of the machine.",
            labels=["of"],
        )
        for kind, size in (_gpu_memory() if self.name == "cuda" else _cpu_memory()).items():
            memory.add_metric([kind], size)
        busy = CounterMetricFamily(
            "pixelmill_device_busy_seconds", "Time in which the device ran batches.", self.busy_s()
        )
        return [counted, batch_sizes(self.sizes(), self.models), busy, memory, *self.sensors()]


def batch_sizes(sizes: Mapping[tuple[Any, int], int], models: Iterable[str] = ()) -> Metric:
    """A histogram of images per batch for each model."""
    histogram = HistogramMetricFamily(
        "pixelmill_batch_size", "Images of a batch.", labels=["model"]
    )
    seen = {bin[0] for bin, _ in sizes if not bin[0].startswith(PROBE)}
    for model in sorted({*models, *seen}):
        of_model = [(size, count) for (bin, size), count in sizes.items() if bin[0] == model]
        buckets = [
            (str(bound), float(sum(count for size, count in of_model if size <= bound)))
            for bound in SIZES
        ]
        batches = sum(count for _, count in of_model)
        images = sum(size * count for size, count in of_model)
        histogram.add_metric([model], [*buckets, ("+Inf", float(batches))], float(images))
    return histogram


def _gpu_memory() -> dict[str, int]:
    """Memory of this process's GPU; empty until torch uses it."""
    import torch

    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch has no type for it
        return {}
    free, total = torch.cuda.mem_get_info()
    return {"used": total - free, "reserved": torch.cuda.memory_reserved(), "total": total}


def _cpu_memory() -> dict[str, int]:
    return {"used": psutil.Process().memory_info().rss, "total": psutil.virtual_memory().total}
