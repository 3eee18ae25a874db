"""A worker's own numbers over HTTP, for Prometheus; none of them comes from Celery's events.

Served by the parent process, which sees every message of its pool, forked children's as well: a
child that dies takes no count with it. The server's thread begins when the pool has been forked.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from celery.worker import state
from prometheus_client import REGISTRY, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

Counts = Callable[[], Mapping[str, float]]

log = structlog.get_logger()


class Numbers:
    """What is read at each scrape."""

    def __init__(self, device_counts: Counts = dict) -> None:
        self._device_counts = device_counts

    def collect(self) -> Iterable[Metric]:
        """Messages of this worker, batches and memory of its device."""
        taken = CounterMetricFamily(
            "pixelmill_worker_messages", "Messages taken, by stage.", labels=["stage"]
        )
        for stage, count in dict(state.total_count).items():
            taken.add_metric([stage], count)
        text = "Messages in hand."
        yield taken
        yield GaugeMetricFamily("pixelmill_worker_active", text, value=len(state.active_requests))
        yield from self._device()

    def _device(self) -> Iterable[Metric]:
        counted = CounterMetricFamily(
            "pixelmill_device", "What the device did: batches, items, failures.", labels=["what"]
        )
        for what, count in self._device_counts().items():
            counted.add_metric([what], count)
        yield counted
        if memory := _gpu_memory():
            used = GaugeMetricFamily("pixelmill_device_memory_bytes", "GPU memory.", labels=["of"])
            for name, count in memory.items():
                used.add_metric([name], count)
            yield used


def serve(address: str, device_counts: Counts = dict) -> str:
    """Show the numbers at `host:port`, port 0 being any free one; the address, empty for none."""
    if not address:
        return ""
    host, _, port = address.rpartition(":")
    REGISTRY.register(Numbers(device_counts))
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


def _gpu_memory() -> dict[str, Any]:
    """Of this process's GPU, if torch is here and uses one."""
    import sys

    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return {}
    free, whole = torch.cuda.mem_get_info()
    return {"used": whole - free, "reserved": torch.cuda.memory_reserved(), "total": whole}
