"""What live workers can do: the only thing that web, CLI and admission know about models."""

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

import orjson

from storage import keys
from storage.jobs.spec import model_version
from storage.pilot import NO_ORDERS, Orders, parse_orders
from storage.redis.answers import fields
from storage.redis.calls import ARRAY, NUMBER, Call, command, script
from storage.states import CPU_STAGES

WORKER_TTL_MS = 15_000
GONE_S = 30
"""A request for a model whose last worker was seen longer ago than this is answered with 503."""
FORGOTTEN_S = 600
"""A model whose last worker was seen longer ago than this is no longer listed."""


class ScratchUsage(TypedDict):
    """How full the scratch store of a worker is, in bytes."""

    used: int
    most: int
    """How much it may hold; 0 for no limit."""


class WorkerInfo(TypedDict):
    """What a live worker says of itself."""

    kind: Literal["cpu", "gpu"]
    queues: list[str]
    """The queues that it takes work from; empty while it drains."""
    device: str
    """The name of its torch device, `cpu` for a cpu worker."""
    host: str
    boot: str
    """Equal for all processes of one host since its start."""
    host_id: NotRequired[str]
    """Equal for all workers that see the same scratch folder; missing while it drains."""
    pid: int
    versions: Mapping[str, str]
    """Of pixelmill, celery and python."""
    metrics: NotRequired[str]
    """The address of its Prometheus page; empty if it has none."""
    clock_ms: NotRequired[int]
    """How far its host's clock is ahead of that of the state Redis; missing at first."""
    scratch_server: NotRequired[str]
    """host:port of its scratch Redis; empty if it has none."""
    model_versions: NotRequired[Mapping[str, str]]
    """Of a gpu worker: model -> the version (weights and code) of it that it serves."""
    model_code: NotRequired[Mapping[str, str]]
    """Of a cpu worker: model -> the part of such a version that names its code, as it started."""
    late: NotRequired[Sequence[str]]
    """Its loops that have not turned for too long, in words."""
    draining: NotRequired[bool]
    processes: NotRequired[int]
    """Of a cpu worker: how many runs it works on at a time."""
    sandbox: NotRequired[Mapping[str, str]]
    """Of a cpu worker: which layers confine its image decoders."""
    scratch: NotRequired[ScratchUsage]
    """Of a cpu worker; missing when it could not be measured."""
    counts: NotRequired[Mapping[str, int]]
    """Of a gpu worker: how often its device failed, fell back and the like."""


class BatchCost(TypedDict):
    """A batch of n images takes a + b * n milliseconds; of a model of volumes, a run takes b."""

    a: float
    b: float


class ProfileCard(TypedDict):
    """What differs between the profiles of a model."""

    max_batch: int
    cost_ms: BatchCost
    weights_bytes: int
    licence: NotRequired[str]
    """Of the weights."""


class ModelCard(TypedDict):
    """What a gpu worker says of a model that it serves."""

    name: str
    title: str
    kind: str
    input: NotRequired[str]
    """What it takes, `image` or `volume`; missing: an image, as an older worker does not say."""
    params: Mapping[str, Any]
    """JSON schema of its parameters."""
    profiles: Mapping[str, ProfileCard]
    weights: str
    """Digest of its weights."""
    code: str
    """Digest of its code."""
    licence: str
    intended_use: str
    texts: NotRequired[Mapping[str, Mapping[str, str]]]
    """Language -> English -> text."""
    fallback: str | None
    """The model that takes over where this one finds no memory."""
    decode: str
    device: str
    max_batch: int
    """This and the next two are of the first profile."""
    cost_ms: BatchCost
    weights_bytes: int
    mean_stage_ms: NotRequired[Mapping[str, float]]
    """Mean milliseconds per run of each of CPU_STAGES, 0 where no run has shown it yet. The worker
    does not say this: `read` adds it."""


@dataclass(frozen=True)
class Catalogue:
    """The live workers and known models at one moment."""

    now_ms: int
    workers: tuple[WorkerInfo, ...]
    models: Mapping[str, ModelCard]
    seen_ms: Mapping[str, int]
    """Queue -> when a worker was last seen that takes work from it."""
    orders: Orders = NO_ORDERS
    """What the pilot has ordered."""
    live: Mapping[str, Mapping[str, ModelCard]] = field(default_factory=dict)
    """Model -> version -> card, of the versions that live workers serve; the newest last."""
    gone: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Model -> versions that no worker has served for GONE_S seconds, while others serve another:
    they will not come back."""

    @property
    def versions(self) -> dict[str, str]:
        """Model -> the version of it that new runs are computed by, a canary's aside."""
        return {
            name: model_version(card["weights"], card["code"]) for name, card in self.models.items()
        }

    def is_live(self, queue: str) -> bool:
        """Whether some worker takes work from this queue now."""
        return any(queue in worker["queues"] for worker in self.workers)

    def is_on_one_host(self, host_id: str) -> bool:
        """Whether all live workers see the same scratch folder as those of `host_id`."""
        return all(worker.get("host_id", host_id) == host_id for worker in self.workers)

    def is_gone(self, queue: str) -> bool:
        """Whether no worker has taken work from this queue for GONE_S seconds."""
        return self._is_missing(queue, GONE_S)

    def is_forgotten(self, queue: str) -> bool:
        """Whether no worker has taken work from this queue for FORGOTTEN_S seconds."""
        return self._is_missing(queue, FORGOTTEN_S)

    def _is_missing(self, queue: str, seconds: float) -> bool:
        # A time later than now was written before the clock was set back.
        age_ms = abs(self.now_ms - self.seen_ms.get(queue, 0))
        return not self.is_live(queue) and age_ms > seconds * 1000


def announce(node: str, worker: WorkerInfo, models: Mapping[str, ModelCard]) -> Call[int]:
    """Say that the worker `node` lives, for WORKER_TTL_MS; answers Redis time in ms.

    `models`: the cards of the models that it serves, by name.
    """
    versions = {
        name: model_version(card["weights"], card["code"])
        for name, card in models.items()
        if "code" in card
    }
    values = {
        "node": node,
        "worker": orjson.dumps(worker),
        "versions": versions,
        "ttl_ms": WORKER_TTL_MS,
        "queues": worker["queues"],
        "forgotten_ms": FORGOTTEN_S * 1000,
        "models": {name: json.dumps(card) for name, card in models.items()},
    }
    return script("announce", int, [], values, kinds=NUMBER)


def read() -> Call[Catalogue]:
    """Live workers and known models, in one round trip."""
    return script("catalogue", _parse, [], {}, kinds=ARRAY)


def forget_workers() -> Call[bool]:
    """Forget all workers; those that live announce themselves again within seconds."""
    return command(bool, "DEL", keys.WORKERS, kinds=NUMBER)


def _parse(answer: Any) -> Catalogue:
    now, workers, models, seen, ordered = answer
    alive: tuple[WorkerInfo, ...] = tuple(json.loads(text) for text in workers)
    orders, cards, live, gone = parse_orders(ordered), {}, {}, {}
    for text, mean_ms, versions in models:
        latest, known = _card(text, mean_ms), fields(versions)
        name = latest["name"]
        live[name] = _live(alive, name, known, mean_ms)
        gone[name] = _gone(known, live[name], int(now)) if live[name] else []
        cards[name] = live[name].get(orders.of(name).chosen(list(live[name])), latest)
    flat = [word.decode() if isinstance(word, bytes) else word for word in seen]
    return Catalogue(
        int(now),
        alive,
        dict(sorted(cards.items())),
        {name: int(at) for name, at in zip(flat[::2], flat[1::2], strict=True)},
        orders,
        live,
        gone,
    )


def _live(
    workers: Sequence[WorkerInfo],
    model: str,
    known: Mapping[str, str],
    mean_ms: Sequence[bytes | str | None],
) -> dict[str, ModelCard]:
    """Version -> card, of those that these workers serve; the newest last."""
    served = {
        worker.get("model_versions", {}).get(model, "") for worker in workers if worker["queues"]
    }
    found = sorted((float(known[f"since:{name}"]), name) for name in served if name in known)
    return {name: _card(known[name], mean_ms) for _, name in found}


def _gone(known: Mapping[str, str], live: Container[str], now_ms: int) -> list[str]:
    """The versions that were seen last longer than GONE_S ago."""
    seen = {name.removeprefix("seen:"): ms for name, ms in known.items() if name[:5] == "seen:"}
    return [
        name for name, ms in seen.items() if name not in live and now_ms - int(ms) > GONE_S * 1000
    ]


def _card(text: bytes | str, mean_ms: Sequence[bytes | str | None]) -> ModelCard:
    card: ModelCard = json.loads(text)
    stages = zip(CPU_STAGES, mean_ms, strict=True)
    card["mean_stage_ms"] = {stage: float(ms or 0) for stage, ms in stages}
    return card
