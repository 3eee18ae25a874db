"""Tells the catalogue, every few seconds and from a thread of its own, what this worker can do."""

import os
import platform
import socket
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import structlog

from storage import catalogue
from storage.errors import StorageDown
from storage.scratch import boot_id
from tasks.clients import host_id, state
from tasks.loops import LOOPS, ThreadLoop

EVERY_S = 5.0
ALLOWED_S = 120.0
"""The client waits up to 75 s for a Redis that hangs."""

log = structlog.get_logger()


class Heartbeat:
    """`start` once the worker is warm, `drain` when it takes no more work, `stop` at its end."""

    def __init__(
        self,
        node: str,
        worker: Callable[[], Mapping[str, Any]],
        models: Callable[[], Mapping[str, Mapping[str, Any]]] = dict,
    ) -> None:
        """`worker` and `models` are asked each time: counts and costs change."""
        self.node, self.worker, self.models = node, worker, models
        self.metrics = ""
        """Where the worker shows its numbers."""
        self._is_draining = False
        self._loop = ThreadLoop("announce", self._announce, every_s=EVERY_S, allowed_s=ALLOWED_S)

    def start(self) -> None:
        """Announce now and then again and again."""
        self._loop.start()

    def drain(self) -> None:
        """From now on say that this worker ends what is in hand and takes nothing more."""
        self._is_draining = True
        self._loop.wake()

    def stop(self) -> None:
        """Fall silent; the entry expires."""
        self._loop.stop()

    def _announce(self) -> None:
        worker = {**self.worker(), "metrics": self.metrics, "late": LOOPS.reasons()}
        if self._is_draining:
            worker |= {"queues": [], "draining": True}
            worker.pop("host_id", None)  # nobody need share a folder with it any more
        try:
            state().do(catalogue.announce(self.node, worker, self.models()))
        except StorageDown as error:
            log.warning("not announced", reason=str(error))


def facts(kind: str, queues: Sequence[str], device: str) -> dict[str, Any]:
    """What a worker says of itself."""
    return {
        "kind": kind,
        "queues": list(queues),
        "device": device,
        "host": socket.gethostname(),
        "boot": boot_id(),
        "host_id": host_id(),
        "pid": os.getpid(),
        "versions": {
            "pixelmill": version("pixelmill"),
            "celery": version("celery"),
            "python": platform.python_version(),
        },
    }
