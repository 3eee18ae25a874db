"""Checks of the workers and the models that they serve, by the catalogue."""

import json
from collections import Counter
from collections.abc import Iterable

from deploy.doctor.finding import ANSWER_S, Finding
from deploy.supervision.probes import impatient_redis
from storage import catalogue
from storage.catalogue import ModelCard, WorkerInfo
from storage.errors import StorageDown
from storage.redis.calls import SyncRedis
from tasks.queues import gpu_queue
from tasks.settings import Settings


def workers(settings: Settings) -> Iterable[Finding]:
    """Which workers are live and well, and how long each model takes."""
    state = SyncRedis(impatient_redis(settings.state_url, ANSWER_S), "the state Redis")
    try:
        known = state.do(catalogue.read())
    except StorageDown:
        yield Finding("warn", "workers", "unknown while the state Redis is unavailable")
        return
    kinds = Counter(str(worker.get("kind", "other")) for worker in known.workers)
    value = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    missing = [kind for kind in ("cpu", "gpu") if not kinds[kind]]
    hint = f"Start one: `pixelmill worker {missing[0]}`." if missing else ""
    yield Finding("warn" if missing else "ok", "workers", value or "none", hint)
    yield from sandboxes(known.workers)
    yield from _hanging(known.workers)
    for name, card in known.models.items():
        yield _model(name, card, is_live=known.is_live(gpu_queue(name)))


def sandboxes(workers: Iterable[WorkerInfo]) -> Iterable[Finding]:
    """What confines the processes that decode uploads; a line for each kind of sandbox."""
    kinds = {json.dumps(worker["sandbox"]) for worker in workers if "sandbox" in worker}
    for layers in map(json.loads, sorted(kinds)):
        value = ", ".join(f"{layer} {state}" for layer, state in layers.items())
        if layers.get("seccomp") == "on":
            yield Finding("ok", "sandbox", value)
        else:
            hint = "Allow seccomp in the container. The limits of memory, time and files hold."
            yield Finding("warn", "sandbox", value, hint)


def _hanging(workers: Iterable[WorkerInfo]) -> Iterable[Finding]:
    for worker in workers:
        if late := worker.get("late"):
            name = f"{worker.get('kind')} worker {worker.get('pid')} on {worker.get('host')}"
            hint = "It ends by itself, and is then started again."
            yield Finding("fail", name, "; ".join(late), hint)


def _model(name: str, card: ModelCard, *, is_live: bool) -> Finding:
    cost = card["cost_ms"]
    value = f"{cost['a'] + cost['b']:.1f} ms per image on {card['device']}"
    if is_live:
        return Finding("ok", f"model {name}", value)
    hint = "Start one: `pixelmill worker gpu`."
    return Finding("warn", f"model {name}", f"no live worker ({value})", hint)
