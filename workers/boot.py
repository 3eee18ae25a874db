"""Starts a worker: loads and warms first, consumes after, and says why when it cannot."""

import gc
import logging
import os
import socket
from typing import Any, NoReturn

import structlog
from celery.signals import worker_ready, worker_shutting_down

from tasks.app import app
from tasks.chain import gpu_queue
from tasks.errors import JobError
from tasks.models import registry
from tasks.settings import names_in, settings
from workers.announce import Announcer, facts
from workers.steps import KeepMessages, LeanConsumer, LosslessDispatcher

GPU_THREADS = 48
"""Messages in hand at once: three batches of 16, so that the next is there when one is done."""
STAGE_LIMIT_S = 120
"""Hard limit of a stage in a cpu worker; its process is killed and the message comes back."""

log = structlog.get_logger()


def cpu() -> None:
    """Pre- and postprocessing, in forked processes; imports no torch, starts no thread before."""
    processes = settings().cpu_processes or os.cpu_count() or 1
    said = facts("cpu", ["cpu"], "cpu") | {"processes": processes}
    announcer = Announcer(_node("cpu"), said, {})
    options = ["-P", "prefork", "-c", str(processes), "--time-limit", str(STAGE_LIMIT_S)]
    _consume(announcer, ["cpu"], options)


def gpu(models: str) -> None:
    """Inference on one device, threads in front of one batcher."""
    from tasks.batcher import Batcher
    from tasks.inference import serve
    from workers.device import Device, card, choose

    try:
        names = _names(models)
        device = Device(choose(settings().device))
        _limit_threads(device.name)
        for name in names:
            device.load(name)
    except JobError as error:
        _refuse(error)
    serve(Batcher(device.run, device.max_batch))
    cards = {name: card(name, loaded, device.name) for name, loaded in device.loaded.items()}
    queues = [gpu_queue(name) for name in names]
    announcer = Announcer(_node("gpu"), facts("gpu", queues, device.name), cards)
    _consume(announcer, queues, ["-P", "threads", "-c", str(GPU_THREADS)])


def _names(models: str) -> list[str]:
    there = registry.names()
    wanted = names_in(models or settings().models)
    for name in wanted:
        if name not in there:
            raise JobError(f"no model {name!r}; there are: {', '.join(there)}")
    return wanted or list(there)


def _limit_threads(device: str) -> None:
    import torch

    threads = settings().threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    log.info("device chosen", device=device, threads=threads)


def _consume(announcer: Announcer, queues: list[str], options: list[str]) -> None:
    """Hand this process to Celery until SIGTERM; warm shutdown finishes what is in hand."""
    worker_ready.connect(lambda **_: announcer.start(), weak=False)
    worker_shutting_down.connect(lambda **_: announcer.stop(), weak=False)
    app.conf.worker_consumer = LeanConsumer
    events: Any = app.events  # the stub wants a name here; Celery takes classes as well
    events.dispatcher_cls = LosslessDispatcher
    app.steps["consumer"].add(KeepMessages)
    flags = ["--without-gossip", "--without-mingle", "--loglevel", settings().log_level]
    # Flower knows a worker by its events and heartbeat; without Flower both are a cost.
    flags += ["-E"] if settings().task_events else ["--without-heartbeat"]
    # Two lines a task from Celery are a fifth of its CPU; ours say what matters.
    for noisy in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # What is loaded by now stays: the collector need not walk through all of torch again and again,
    # and forked processes go on sharing it.
    gc.collect()
    gc.freeze()
    app.worker_main(["worker", "-Q", ",".join(queues), "-n", announcer.node, *options, *flags])


def _node(kind: str) -> str:
    return f"{kind}-{os.getpid()}@{socket.gethostname()}"


def _refuse(error: JobError) -> NoReturn:
    hint: Any = f" {error.hint}" if error.hint else ""
    raise SystemExit(f"pixelmill worker: {str(error).rstrip('.')}.{hint}")
