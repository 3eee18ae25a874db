"""Starts a gpu worker: pins the GPU, loads and warms the models, then takes messages.

torch is imported only after the GPU has been pinned, and only where a network needs it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

import structlog
from celery.signals import worker_shutdown

from storage.catalogue import ModelCard, WorkerInfo
from storage.jobs.spec import model_version
from tasks.errors import JobError, Unavailable
from tasks.models import engines, registry
from tasks.queues import gpu_queue
from tasks.settings import names_in, settings
from workers import boot, pinning
from workers.consuming import Consuming
from workers.heartbeat import Heartbeat, worker_info

if TYPE_CHECKING:  # it imports torch
    from workers.gpu.batcher import Batcher
    from workers.gpu.device import Device
    from workers.gpu.fallback import Bin

THREADS = 48
"""Most messages that are worked on at a time; what of each model is taken, room.py decides."""

log = structlog.get_logger()


def gpu(models: str, number: int | None = None) -> None:
    """Run a gpu worker: inference on one device, threads in front of one batcher.

    `models`: comma-separated; empty for those of the settings. `number`: the GPU to use; None for
    the setting `device`. Every model is warm before the worker announces itself.
    """
    try:
        if number is not None:
            _pin(number)
        names = _names(models or pinning.models_of(number, settings().gpu_models))
        device = _device(number)
        for variant in _variants(names):
            device.load(variant)
    except JobError as error:
        boot.refuse(error)
    _serve(device, names)


def _pin(number: int) -> None:
    if settings().device == "cpu":
        raise Unavailable(f"--gpu {number} and PIXELMILL_DEVICE=cpu contradict each other")
    pinning.pin(number)


def _device(number: int | None) -> "Device":
    from workers.gpu.accelerator import choose
    from workers.gpu.device import Device

    if number is None:
        accelerator = choose(settings().device, settings().precision)
    else:
        accelerator = choose("cuda", settings().precision, f"--gpu {number}")
    threads = pinning.threads(settings().threads)
    engine = engines.choose(accelerator.name, settings())
    device = Device(accelerator, engine=engine, threads=threads)
    log.info(
        "device chosen",
        device=device.name,
        engine=engine,
        gpu=device.main.gpu,
        threads=threads,
        cores=pinning.cores(),
    )
    return device


def _serve(device: "Device", names: Sequence[str]) -> None:
    from tasks import compatibility, tracing
    from tasks.celery_transport import Channel
    from tasks.inference import DEADLINE_S, register
    from workers.gpu import liveness, sensors
    from workers.gpu.batcher import Batcher
    from workers.gpu.cancellation import Cancellations
    from workers.gpu.metrics import DeviceMetrics
    from workers.gpu.model_card import model_card
    from workers.gpu.room import Room, wanted

    batcher = Batcher(device.run, device.limit, device.wait_s, device.slots)
    cancellations = Cancellations(settings().state_url)
    cancellations.start()
    check = partial(compatibility.check, engine=device.engine)
    room = Room(partial(_waiting, batcher), lambda model: wanted(model, device.loaded))
    Channel.bound = room
    slices = register(batcher, cancellations.watch, check, room.submit)
    hang_s = settings().device_hang_s
    liveness.observe(batcher, hang_s)
    queues = [gpu_queue(name) for name in names]

    def counts() -> dict[str, int]:
        return {**batcher.counts, **device.fallback_chain.counts}

    def worker() -> WorkerInfo:
        about = worker_info("gpu", queues, device.name)
        return {**about, "counts": counts(), "model_versions": _versions(cards())}

    def cards() -> Mapping[str, ModelCard]:
        return {
            name: model_card(name, device.loaded, device.engine, slices.of(name)) for name in names
        }

    of_versions = [gpu_queue(*version) for version in _versions(cards()).items()]
    numbers = DeviceMetrics(
        device.name,
        counts,
        lambda: dict(batcher.sizes),
        tuple(device.loaded),
        batcher.total_busy_s,
        sensors.of(device.main.uuid),
    )
    tracing.start("pixelmill-gpu-worker")
    worker_shutdown.connect(lambda **_: tracing.stop(), weak=False)
    boot.consume(
        Heartbeat(boot.node("gpu"), worker, cards),
        Consuming(
            settings().state_url,
            queues + of_versions,
            THREADS,
            DEADLINE_S + boot.MARGIN_S,
            room.has_room,
        ),
        queues=queues + of_versions,  # the first ones have messages of cpu workers of before
        stages=["inference"],
        options=["-P", "threads", "-c", str(THREADS)],
        checks=[partial(liveness.check, batcher, hang_s)],
        more_metrics=numbers.collect,
    )


def _waiting(batcher: "Batcher") -> Mapping[str, int]:
    """Variant -> photos that wait for the device."""
    counts: Counter[str] = Counter()
    for bin, count in batcher.waiting().items():
        counts[cast("Bin", bin)[0]] += count
    return counts


def _versions(cards: Mapping[str, ModelCard]) -> dict[str, str]:
    """Model -> the version of it that this worker serves."""
    return {name: model_version(card["weights"], card["code"]) for name, card in cards.items()}


def _names(models: str) -> list[str]:
    """The models to serve; JobError for one that does not exist."""
    present = registry.names()
    wanted = names_in(models or settings().models)
    for name in wanted:
        if name not in present:
            raise JobError(f"no model {name!r}; there are: {', '.join(present)}")
    return wanted or list(present)


def _variants(names: Sequence[str]) -> list[str]:
    """Every profile of these models that is loaded; JobError for one that does not exist."""
    wanted = names_in(settings().profiles)
    try:
        for profile in wanted:
            registry.variant(profile)
    except LookupError as error:
        raise JobError(f"PIXELMILL_PROFILES={settings().profiles}: {error}") from error
    return [variant for name in names for variant in registry.variants(name, wanted)]
