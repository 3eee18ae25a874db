"""Tells the catalogue every few seconds that this worker lives and what it can do."""

import os
import platform
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Literal

import structlog

from storage import catalogue
from storage.catalogue import ModelCard, WorkerInfo
from storage.errors import StorageDown
from storage.scratch import boot_id
from tasks.clients import host_id, state
from tasks.loops import LOOPS, Periodic
from tasks.settings import server_of, settings

EVERY_S = 5.0
ALLOWED_S = 120.0
"""More than the 75 s for which the client waits for a Redis that hangs."""

log = structlog.get_logger()


class Heartbeat:
    """Announces this worker from a thread of its own: `start` it once the worker is warm."""

    def __init__(
        self,
        node: str,
        worker: Callable[[], WorkerInfo],
        models: Callable[[], Mapping[str, ModelCard]] = dict,
    ) -> None:
        """`worker` and `models` are called each time, as counts and costs change."""
        self.node, self.worker, self.models = node, worker, models
        self.metrics = ""
        """Address of the worker's metrics; empty if it serves none."""
        self._is_draining = False
        self._clock_ms: int | None = None
        self._loop = Periodic("announce", self._announce, every_s=EVERY_S, max_age_s=ALLOWED_S)

    def start(self) -> None:
        """Announce now, and again every EVERY_S seconds."""
        self._loop.start()

    def drain(self) -> None:
        """Announce now, and from now on, that this worker takes no more work."""
        self._is_draining = True
        self._loop.wake()

    def stop(self) -> None:
        """Announce no more; the worker's entry expires."""
        self._loop.stop()

    def _announce(self) -> None:
        worker: WorkerInfo = {
            **self.worker(),
            "metrics": self.metrics,
            "late": LOOPS.reasons(),
        }
        if self._is_draining:
            worker["queues"], worker["draining"] = [], True
            worker.pop("host_id", None)  # no other worker has to share a folder with it any more
        if self._clock_ms is not None:
            worker["clock_ms"] = self._clock_ms
        call = catalogue.announce(self.node, worker, self.models())
        before_s = time.time()
        try:
            redis_ms = state().do(call)
        except StorageDown as error:
            log.warning("not announced", reason=str(error))
            return
        # Redis' time was read somewhere between the two.
        self._clock_ms = round((before_s + time.time()) / 2 * 1000 - redis_ms)


def worker_info(kind: Literal["cpu", "gpu"], queues: Sequence[str], device: str) -> WorkerInfo:
    """What every worker says about itself; `device` is the name of its torch device."""
    return {
        "kind": kind,
        "queues": list(queues),
        "device": device,
        "host": socket.gethostname(),
        "boot": boot_id(),
        "host_id": host_id(),
        "pid": os.getpid(),
        "scratch_server": server_of(settings().scratch_url),
        "versions": {
            "pixelmill": version("pixelmill"),
            "celery": version("celery"),
            "python": platform.python_version(),
        },
    }
