"""Tells the catalogue, every few seconds and from a thread of its own, what this worker can do."""

import os
import platform
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import structlog

from storage import catalogue
from storage.errors import StorageDown
from storage.scratch import boot_id
from tasks.resources import place, state

EVERY_S = 5.0

log = structlog.get_logger()


class Announcer:
    """`start` once the worker is warm, `stop` when it drains."""

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
        self._stopping = threading.Event()

    def start(self) -> None:
        """Announce now and then again and again."""
        threading.Thread(target=self._run, daemon=True, name="announce").start()

    def stop(self) -> None:
        """Fall silent; the entry expires."""
        self._stopping.set()

    def _run(self) -> None:
        while True:
            worker = {**self.worker(), "metrics": self.metrics}
            try:
                state().do(catalogue.announce(self.node, worker, self.models()))
            except StorageDown as error:
                log.warning("not announced", reason=str(error))
            if self._stopping.wait(EVERY_S):
                return


def facts(kind: str, queues: Sequence[str], device: str) -> dict[str, Any]:
    """What a worker says of itself."""
    return {
        "kind": kind,
        "queues": list(queues),
        "device": device,
        "host": socket.gethostname(),
        "boot": boot_id(),
        "place": place(),
        "pid": os.getpid(),
        "versions": {
            "pixelmill": version("pixelmill"),
            "celery": version("celery"),
            "python": platform.python_version(),
        },
    }
