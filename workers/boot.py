"""Starts a worker: everything is ready before it takes messages; if it cannot start, it says why.

Here: the cpu worker, and what both kinds share. The gpu worker is in workers/gpu/boot.py.
"""

import gc
import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import structlog
from celery.signals import (
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutting_down,
)

from storage import catalogue
from storage.catalogue import WorkerInfo
from storage.errors import StorageDown
from storage.jobs.spec import short_digest
from storage.scratch import NOT_SHARED
from tasks import tracing
from tasks.app import app
from tasks.clients import host_id, local_scratch, state
from tasks.errors import JobError
from tasks.imaging import codec
from tasks.models import registry
from tasks.settings import settings
from workers import metrics, scratch_cleanup
from workers.celery_patches import ForgetTimers, KeepMessages, LeanConsumer, LosslessDispatcher
from workers.consuming import Consuming, Pulse
from workers.drain import Drain
from workers.heartbeat import Heartbeat, worker_info
from workers.metrics import Collect
from workers.watchdog import Check, Watchdog, late_loop

STAGE_LIMIT_S = 120
"""Hard limit of a message in a cpu worker, for work that `stage_limit_s` cannot interrupt: its
process is killed, and its runs are requeued, each alone, once their leases have run out."""
MARGIN_S = 60
"""A pool is stuck that finishes nothing for this much longer than a message may take."""
GHOST_S = catalogue.WORKER_TTL_MS / 1000 + 1
"""How long the catalogue still shows a worker that has died."""

log = structlog.get_logger()


def cpu() -> None:
    """Run a cpu worker: pre- and postprocessing in forked processes.

    It imports no torch, and starts no thread before the processes are forked.
    """
    processes = settings().cpu_processes or os.cpu_count() or 1
    tracing.preload()
    worker_process_init.connect(lambda **_: tracing.start("pixelmill-cpu-worker"), weak=False)
    worker_process_shutdown.connect(lambda **_: tracing.stop(), weak=False)
    sandbox, code = _sandbox(), _model_code()

    def worker() -> WorkerInfo:
        info = worker_info("cpu", ["cpu"], "cpu")
        info["processes"], info["sandbox"], info["model_code"] = processes, sandbox, code
        if usage := scratch_cleanup.usage():
            info["scratch"] = usage
        return info

    cleaner = scratch_cleanup.ScratchCleaner()
    worker_ready.connect(lambda **_: cleaner.start(), weak=False)
    worker_shutting_down.connect(lambda **_: cleaner.stop(), weak=False)
    consume(
        Heartbeat(node("cpu"), worker),
        Consuming(settings().state_url, ["cpu"], processes, STAGE_LIMIT_S + MARGIN_S),
        queues=["cpu"],
        stages=["preprocess", "postprocess"],
        options=["-P", "prefork", "-c", str(processes), "--time-limit", str(STAGE_LIMIT_S)],
    )


def _model_code() -> dict[str, str]:
    """Of which code the models are here; none where that cannot be read, which jobs will say."""
    try:
        return {name: short_digest(code) for name, code in registry.code_on_disk().items()}
    except JobError as error:
        log.warning("models not read", reason=str(error))
        return {}


def _sandbox() -> dict[str, str]:
    """What confines image decoders: starts the helper that all processes of this worker share."""
    try:
        layers = codec.prepare()
    except JobError as error:
        refuse(error)
    write = log.info if layers["seccomp"] == "on" else log.warning
    write("pictures are decoded in a sandbox", layers=layers)
    return layers


def consume(
    heartbeat: Heartbeat,
    consuming: Consuming,
    *,
    queues: Sequence[str],
    stages: Sequence[str],
    options: Sequence[str],
    checks: Sequence[Check] = (),
    more_metrics: Collect = list,
) -> None:
    """Let Celery consume `queues` in this process until SIGTERM, and end what is in progress.

    `stages` are those of the queues' messages; `options` go to Celery's command line; the process
    ends if one of `checks` fails.
    """
    _check_scratch_folder()
    watchdog = Watchdog([*checks, consuming.check, late_loop])

    def begin(**_: Any) -> None:  # the pool has been forked: threads may be started
        heartbeat.metrics = metrics.serve(settings().worker_metrics, stages, more_metrics)
        heartbeat.start()
        watchdog.start()

    def drain(**_: Any) -> None:  # runs in a signal handler: must not block
        heartbeat.drain()
        consuming.drain()

    worker_ready.connect(begin, weak=False)
    worker_shutting_down.connect(drain, weak=False)
    bounded = Drain(settings().stop_s)
    worker_ready.connect(bounded.watch, weak=False)
    worker_shutting_down.connect(bounded.begin, weak=False)
    _patch_celery()
    # What is loaded by now stays: frozen, the collector need not go through all of torch again and
    # again, and forked processes keep sharing its memory.
    gc.collect()
    gc.freeze()
    with _scratch_arrays():
        app.worker_main(
            ["worker", "-Q", ",".join(queues), "-n", heartbeat.node, *options, *_celery_flags()]
        )


def _patch_celery() -> None:
    app.conf.worker_consumer = LeanConsumer
    events: Any = app.events  # the stub asks for a name here; Celery takes a class as well
    events.dispatcher_cls = LosslessDispatcher
    app.steps["consumer"].update((ForgetTimers, KeepMessages, Pulse))
    # Celery logs two lines per task, which is a fifth of its CPU time; ours say what matters.
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _celery_flags() -> list[str]:
    flags = ["--without-gossip", "--without-mingle", "--loglevel", settings().log_level]
    # Flower needs a worker's events and heartbeat; without Flower both only cost time.
    return flags + (["-E"] if settings().task_events else ["--without-heartbeat"])


@contextmanager
def _scratch_arrays() -> Iterator[None]:
    """Keep this host's arrays while this worker runs; the last worker that ends removes them."""
    held = local_scratch().hold(settings().installation)
    try:
        yield
    finally:
        held.close()
        if removed := local_scratch().clear(settings().installation):
            log.info("scratch arrays removed at the end", arrays=removed)


def _check_scratch_folder() -> None:
    """Refuse to start beside workers that cannot read our arrays.

    Waits for the entries of workers that may have just died to expire.
    """
    give_up_at = time.monotonic() + GHOST_S
    try:
        own = host_id()
        while not settings().scratch_url:
            if state().do(catalogue.read()).is_on_one_host(own):
                return
            if time.monotonic() > give_up_at:
                refuse(JobError(NOT_SHARED))
            time.sleep(0.5)
    except StorageDown as error:  # Celery waits for Redis; each array is checked again
        log.warning("other workers not seen", reason=str(error))
    except OSError as error:
        refuse(JobError(f"no scratch folder {settings().scratch_dir}: {error.strerror}"))


def node(kind: str) -> str:
    """The name of this worker in Celery and in the catalogue."""
    return f"{kind}-{os.getpid()}@{socket.gethostname()}"


def refuse(error: JobError) -> NoReturn:
    """End this process with one sentence on stderr."""
    hint: Any = f" {error.hint}" if error.hint else ""
    raise SystemExit(f"pixelmill worker: {str(error).rstrip('.')}.{hint}")
