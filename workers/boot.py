"""Starts a worker: loads and warms first, consumes after, and says why when it cannot."""

import gc
import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import structlog
from celery.signals import worker_ready, worker_shutting_down

from storage import catalogue
from storage.errors import StorageDown
from storage.scratch import APART
from tasks.app import app
from tasks.clients import host_id, near, state
from tasks.errors import JobError, Unavailable
from tasks.imaging import codec
from tasks.models import registry
from tasks.queues import gpu_queue
from tasks.settings import names_in, settings
from workers import metrics, pinning
from workers.celery_patches import ForgetTimers, KeepMessages, LeanConsumer, LosslessDispatcher
from workers.consuming import Consuming, Pulse
from workers.drain import Drain
from workers.health import Trouble, Watchdog, late_loop
from workers.heartbeat import Heartbeat, facts
from workers.scratch_cleanup import ScratchCleaner, fullness

if TYPE_CHECKING:  # it imports torch, which has to wait until the GPU is pinned
    from workers.gpu.device import Device

GPU_THREADS = 48
"""Messages in hand at once: three batches of 16, so that the next is there when one is done."""
STAGE_LIMIT_S = 120
"""Hard limit of a message in a cpu worker, for what `stage_limit_s` cannot interrupt: its process
is killed, and its runs are led again, each alone, once their leases run out."""

MARGIN_S = 60
"""A pool that finishes nothing for so much longer than a message may take is stuck."""
GHOST_S = catalogue.WORKER_TTL_MS / 1000 + 1
"""A worker that died is in the catalogue for so long."""

log = structlog.get_logger()


def cpu() -> None:
    """Pre- and postprocessing, in forked processes; imports no torch, starts no thread before."""
    processes = settings().cpu_processes or os.cpu_count() or 1
    said = {"processes": processes, "sandbox": _sandbox()}

    def worker() -> dict[str, Any]:
        return facts("cpu", ["cpu"], "cpu") | said | fullness()

    announcer, tidier = Heartbeat(_node("cpu"), worker), ScratchCleaner()
    worker_ready.connect(lambda **_: tidier.start(), weak=False)
    worker_shutting_down.connect(lambda **_: tidier.stop(), weak=False)
    options = ["-P", "prefork", "-c", str(processes), "--time-limit", str(STAGE_LIMIT_S)]
    consuming = Consuming(settings().state_url, ["cpu"], processes, STAGE_LIMIT_S + MARGIN_S)
    _consume(announcer, ["cpu"], options, consuming)


def _sandbox() -> dict[str, str]:
    """What confines decoders here. Starts the one helper that all processes of this worker use."""
    try:
        layers = codec.prepare()
    except JobError as error:
        _refuse(error)
    tell = log.info if layers["seccomp"] == "on" else log.warning
    tell("pictures are decoded in a sandbox", layers=layers)
    return layers


def gpu(models: str, number: int | None = None) -> None:
    """Inference on one device, threads in front of one batcher; `number`: the GPU that is its own.

    Every model is warm before the worker says that it is there.
    """
    try:
        if number is not None:
            _pin(number)  # before torch is imported
        names = _names(models or pinning.models_of(number, settings().gpu_models))
        device = _device(number)
        for variant in _variants(names):
            device.load(variant)
    except JobError as error:
        _refuse(error)
    _serve(device, names)


def _pin(number: int) -> None:
    if settings().device == "cpu":
        raise Unavailable(f"--gpu {number} and PIXELMILL_DEVICE=cpu contradict each other")
    pinning.pin(number)


def _device(number: int | None) -> "Device":
    import torch

    from workers.gpu.accelerator import choose
    from workers.gpu.device import Device

    asked = ("cuda", f"--gpu {number}") if number is not None else (settings().device, "")
    device = Device(choose(asked[0], settings().precision, asked[1] or "PIXELMILL_DEVICE=cuda"))
    threads = pinning.threads(settings().threads)
    torch.set_num_threads(threads)
    log.info(
        "device chosen",
        device=device.name,
        gpu=torch.cuda.get_device_name() if device.name == "cuda" else None,
        threads=threads,
        cores=pinning.cores(),
    )
    return device


def _serve(device: "Device", names: Sequence[str]) -> None:
    from tasks.inference import DEADLINE_S, serve
    from workers.gpu.batcher import Batcher
    from workers.gpu.device import card
    from workers.health import trouble, watch_device

    batcher = Batcher(device.run, device.limit, device.wait_s, device.slots)
    serve(batcher)
    hang_s = settings().device_hang_s
    watch_device(batcher, hang_s)
    queues = [gpu_queue(name) for name in names]

    def counts() -> dict[str, int]:
        return {**batcher.counts, **device.ladder.counts}

    def worker() -> dict[str, Any]:
        return facts("gpu", queues, device.name) | {"counts": counts()}

    def cards() -> dict[str, dict[str, Any]]:
        return {name: card(name, device.loaded) for name in names}

    options = ["-P", "threads", "-c", str(GPU_THREADS)]
    numbers = metrics.OfDevice(
        device.name, counts, lambda: dict(batcher.sizes), tuple(device.loaded)
    )
    consuming = Consuming(settings().state_url, queues, GPU_THREADS, DEADLINE_S + MARGIN_S)
    hangs = partial(trouble, batcher, hang_s)
    _consume(Heartbeat(_node("gpu"), worker, cards), queues, options, consuming, numbers, [hangs])


def _names(models: str) -> list[str]:
    there = registry.names()
    wanted = names_in(models or settings().models)
    for name in wanted:
        if name not in there:
            raise JobError(f"no model {name!r}; there are: {', '.join(there)}")
    return wanted or list(there)


def _variants(names: Sequence[str]) -> list[str]:
    """Every profile that is loaded of these models; JobError for one that does not exist."""
    asked = names_in(settings().profiles)
    try:
        for one in asked:
            registry.variant(one)
    except LookupError as error:
        raise JobError(f"PIXELMILL_PROFILES={settings().profiles}: {error}") from error
    return [variant for name in names for variant in registry.variants(name, asked)]


def _begin(announcer: Heartbeat, watchdog: Watchdog, device: metrics.OfDevice | None) -> None:
    """The pool is there: threads may be started."""
    announcer.metrics = metrics.serve(settings().worker_metrics, device)
    announcer.start()
    watchdog.start()


def _drain(announcer: Heartbeat, consuming: Consuming) -> None:
    """Called in a signal handler: must not wait."""
    announcer.drain()
    consuming.drain()


def _consume(
    announcer: Heartbeat,
    queues: list[str],
    options: list[str],
    consuming: Consuming,
    device: metrics.OfDevice | None = None,
    troubles: Sequence[Trouble] = (),
) -> None:
    """Hand this process to Celery until SIGTERM; warm shutdown finishes what is in hand."""
    _check_place()
    watchdog = Watchdog([*troubles, consuming.trouble, late_loop])
    worker_ready.connect(lambda **_: _begin(announcer, watchdog, device), weak=False)
    worker_shutting_down.connect(lambda **_: _drain(announcer, consuming), weak=False)
    drain = Drain(settings().stop_s)
    worker_ready.connect(drain.take, weak=False)
    worker_shutting_down.connect(drain.begin, weak=False)
    app.conf.worker_consumer = LeanConsumer
    events: Any = app.events  # the stub wants a name here; Celery takes classes as well
    events.dispatcher_cls = LosslessDispatcher
    app.steps["consumer"].update((ForgetTimers, KeepMessages, Pulse))
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
    with _arrays():
        app.worker_main(["worker", "-Q", ",".join(queues), "-n", announcer.node, *options, *flags])


@contextmanager
def _arrays() -> Iterator[None]:
    """While this worker runs, arrays of this host stay; the last one to end removes them."""
    held = near().hold(settings().installation)
    try:
        yield
    finally:
        held.close()
        if removed := near().clear(settings().installation):
            log.info("scratch arrays removed at the end", arrays=removed)


def _check_place() -> None:
    """Refuse to work beside workers that cannot read our arrays; one just gone is waited for."""
    give_up_at = time.monotonic() + GHOST_S
    try:
        own = host_id()
        while not settings().scratch_url:
            if state().do(catalogue.read()).is_on_one_host(own):
                return
            if time.monotonic() > give_up_at:
                _refuse(JobError(APART))
            time.sleep(0.5)
    except StorageDown as error:  # Celery waits for it; each array is checked again
        log.warning("other workers not seen", reason=str(error))
    except OSError as error:
        _refuse(JobError(f"no scratch folder {settings().scratch_dir}: {error.strerror}"))


def _node(kind: str) -> str:
    return f"{kind}-{os.getpid()}@{socket.gethostname()}"


def _refuse(error: JobError) -> NoReturn:
    hint: Any = f" {error.hint}" if error.hint else ""
    raise SystemExit(f"pixelmill worker: {str(error).rstrip('.')}.{hint}")
