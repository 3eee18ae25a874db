"""A worker's own numbers over HTTP, for Prometheus; none of them comes from Celery's events.

Served by the parent process, which sees every message of its pool, forked children's as well: a
child that dies takes no count with it. The server's thread begins when the pool has been forked.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import structlog
from celery.worker import state
from prometheus_client import REGISTRY, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from tasks.loops import LOOPS
from tasks.message import PROBE

STAGES_OF = {"cpu": ("preprocess", "postprocess"), "gpu": ("inference",)}
WHAT = ("batches", "items", "failed", "cancelled", "expired", "full", "halved", "smaller_bin",
        "degraded", "cpu", "out_of_memory")  # fmt: skip
"""What batcher and ladder count. Zeros are shown: a series that appears with its first event hides
that event from rate()."""
SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Buckets of batch sizes."""

log = structlog.get_logger()


@dataclass(frozen=True)
class OfDevice:
    """Where a gpu worker's numbers are read; the server's thread asks."""

    name: str
    """`cpu` or `cuda`."""
    counts: Callable[[], Mapping[str, float]]
    sizes: Callable[[], Mapping[tuple[Any, int], int]]
    """(bin, images) -> batches; a bin begins with its model's name."""
    models: Sequence[str] = ()
    """What it has loaded."""


class Numbers:
    """What is read at each scrape."""

    def __init__(self, device: OfDevice | None = None) -> None:
        self._device = device

    def collect(self) -> Iterable[Metric]:
        """Messages of this worker, batches and memory of its device."""
        taken = CounterMetricFamily(
            "pixelmill_worker_messages", "Messages taken, by stage.", labels=["stage"]
        )
        stages = STAGES_OF["gpu" if self._device else "cpu"]
        for stage, count in {**dict.fromkeys(stages, 0), **state.total_count}.items():
            taken.add_metric([stage], count)
        text = "Messages in hand."
        yield taken
        yield GaugeMetricFamily("pixelmill_worker_active", text, value=len(state.active_requests))
        yield from LOOPS.collect()
        if self._device:
            yield from of_device(self._device)


def of_device(device: OfDevice) -> list[Metric]:
    """What a device did, how large its batches were, and its memory."""
    counted = CounterMetricFamily(
        "pixelmill_device", "What the device did: batches, items, failures.", labels=["what"]
    )
    for what, count in {**dict.fromkeys(WHAT, 0), **device.counts()}.items():
        counted.add_metric([what], count)
    text = "Memory of the device; of a CPU, this process's and the machine's."
    memory = GaugeMetricFamily("pixelmill_device_memory_bytes", text, labels=["of"])
    for name, size in (_gpu_memory() if device.name == "cuda" else _cpu_memory()).items():
        memory.add_metric([name], size)
    return [counted, batch_sizes(device.sizes(), device.models), memory]


def batch_sizes(sizes: Mapping[tuple[Any, int], int], models: Iterable[str] = ()) -> Metric:
    """A histogram per model; its sum is the images."""
    found = HistogramMetricFamily("pixelmill_batch_size", "Images of a batch.", labels=["model"])
    seen = {bin[0] for bin, _ in sizes if not bin[0].startswith(PROBE)}
    for model in sorted({*models, *seen}):
        of_model = [(size, count) for (bin, size), count in sizes.items() if bin[0] == model]
        buckets = [
            (str(most), float(sum(count for size, count in of_model if size <= most)))
            for most in SIZES
        ]
        batches = sum(count for _, count in of_model)
        images = sum(size * count for size, count in of_model)
        found.add_metric([model], [*buckets, ("+Inf", float(batches))], float(images))
    return found


def serve(address: str, device: OfDevice | None = None) -> str:
    """Show the numbers at `host:port`, port 0 being any free one; the address, empty for none."""
    if not address:
        return ""
    host, _, port = address.rpartition(":")
    REGISTRY.register(Numbers(device))
    try:
        server, thread = start_http_server(int(port), host)
    except OSError as error:
        log.warning("metrics not shown", address=address, reason=str(error))
        return ""
    _kept.append(thread)
    shown = f"{host}:{server.server_port}"
    log.info("metrics shown", address=shown)
    return shown


_kept: list[threading.Thread] = []


def _gpu_memory() -> dict[str, int]:
    """Of this process's GPU, once torch uses it."""
    import sys

    torch: Any = sys.modules["torch"]  # a gpu worker has it; this module must not load it
    if not torch.cuda.is_initialized():
        return {}
    free, whole = torch.cuda.mem_get_info()
    return {"used": whole - free, "reserved": torch.cuda.memory_reserved(), "total": whole}


def _cpu_memory() -> dict[str, int]:
    return {"used": psutil.Process().memory_info().rss, "total": psutil.virtual_memory().total}
