"""A worker's own numbers over HTTP, for Prometheus. None of them depends on Celery's events.

They are served by the parent process, which sees every message of its pool, those of forked
children as well: no count is lost with a child that dies. The server's thread is started after the
pool has been forked.
"""

import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit

import psutil
import structlog
from celery.worker import state
from prometheus_client import REGISTRY, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from tasks.loops import LOOPS
from tasks.settings import settings

log = structlog.get_logger()

Collect = Callable[[], Iterable[Metric]]

ANY_ADDRESS = ("", "0.0.0.0", "::", "[::]")
"""Hosts at which a server takes connections for whatever address this machine has."""

_threads: list[threading.Thread] = []
"""Keeps the server's thread object alive."""


class WorkerMetrics:
    """A Prometheus collector of what this worker does."""

    def __init__(self, stages: Sequence[str], more: Collect = list) -> None:
        """`stages` are shown from the start, also as 0; `more` collects other metrics."""
        self._stages, self._more = stages, more

    def collect(self) -> Iterable[Metric]:
        """Messages and loops of this worker, and whatever `more` collects."""
        taken = CounterMetricFamily(
            "pixelmill_worker_messages", "Messages taken from the queues.", labels=["stage"]
        )
        for stage, count in {**dict.fromkeys(self._stages, 0), **state.total_count}.items():
            taken.add_metric([stage], count)
        yield taken
        yield GaugeMetricFamily(
            "pixelmill_worker_active",
            "Messages that are being worked on.",
            value=len(state.active_requests),
        )
        yield from host()
        yield from LOOPS.collect()
        yield from self._more()


def host() -> list[Metric]:
    """How busy and how full this machine is: workers of one host say the same."""
    times, memory = psutil.cpu_times(), psutil.virtual_memory()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # Guests are part of user and nice.
    everything = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    cpu = CounterMetricFamily(
        "pixelmill_host_cpu_seconds", "Time of all cores of the host.", labels=["mode"]
    )
    cpu.add_metric(["idle"], idle)
    cpu.add_metric(["busy"], everything - idle)
    sizes = GaugeMetricFamily("pixelmill_host_memory_bytes", "Memory of the host.", labels=["of"])
    sizes.add_metric(["available"], memory.available)
    sizes.add_metric(["total"], memory.total)
    return [cpu, sizes]


def serve(address: str, stages: Sequence[str], more: Collect = list) -> str:
    """Serve the metrics at `host:port`, port 0 being any free one.

    Answers the address at which other hosts find them, with the port that was taken; empty if
    `address` is, or if it is in use.
    """
    if not address:
        return ""
    host, _, port = address.rpartition(":")
    REGISTRY.register(WorkerMetrics(stages, more))
    try:
        server, thread = start_http_server(int(port), host.strip("[]"))
    except OSError as error:
        log.warning("metrics not served", address=address, reason=str(error))
        return ""
    _threads.append(thread)
    served = f"{announced_host(host)}:{server.server_port}"
    log.info("metrics served", address=served)
    return served


def announced_host(host: str) -> str:
    """The name or address by which other hosts reach a server that listens on `host`."""
    if settings().advertise_host:
        return settings().advertise_host
    return _own_address() if host in ANY_ADDRESS else host


def _own_address() -> str:
    """The address from which this host reaches the state Redis; its name if there is no way."""
    redis = urlsplit(settings().state_url)
    try:
        target = socket.getaddrinfo(redis.hostname, redis.port or 6379, type=socket.SOCK_DGRAM)[0]
        with socket.socket(target[0], socket.SOCK_DGRAM) as probe:
            probe.connect(target[4])  # sends nothing
            address = str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()
    return f"[{address}]" if ":" in address else address
