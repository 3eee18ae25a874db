"""What live workers can do: the only thing that web, CLI and admission know about models."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage import keys
from storage.redis.calls import ARRAY, NUMBER, Call, Word, command, script

WORKER_TTL_MS = 15_000
GONE_S = 30
"""A model whose last worker was seen longer ago than this is answered 503."""


PACED = ("preprocess", "postprocess")
"""Stages whose mean time is in a card's `pace_ms`; 0 where no run has shown it yet."""


@dataclass(frozen=True)
class Catalogue:
    """One look at the catalogue."""

    now_ms: int
    workers: tuple[Mapping[str, Any], ...]
    models: Mapping[str, Mapping[str, Any]]
    seen_ms: Mapping[str, int]

    def is_live(self, queue: str) -> bool:
        """Whether some worker takes work from this queue now."""
        return any(queue in worker["queues"] for worker in self.workers)

    def is_in_one_place(self, place: str) -> bool:
        """Whether all live workers see the scratch folder that `place` names."""
        return all(worker.get("place", place) == place for worker in self.workers)

    def is_gone(self, queue: str) -> bool:
        """Whether nobody has taken work from this queue for GONE_S seconds."""
        # Later than now: the clock was set back since.
        age_ms = abs(self.now_ms - self.seen_ms.get(queue, 0))
        return not self.is_live(queue) and age_ms > GONE_S * 1000


def announce(
    node: str, worker: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]
) -> Call[int]:
    """Say that `node` lives, for WORKER_TTL_MS; answers Redis time in ms.

    `worker` has at least `queues`; `models` are the cards of what it can run.
    """
    queues: Sequence[str] = worker["queues"]
    args: list[Word] = [node, json.dumps(worker), WORKER_TTL_MS, len(queues), *queues]
    for name, card in models.items():
        args += [keys.model(name), name, json.dumps(card)]
    names = [keys.worker(node), keys.WORKERS, keys.MODELS, keys.SEEN]
    return script("announce", int, names, args, kinds=NUMBER)


def read() -> Call[Catalogue]:
    """Live workers and known models, in one round trip."""
    names = [keys.WORKERS, keys.MODELS, keys.SEEN]
    prefixes = [keys.worker(""), keys.model(""), keys.PACE_PREFIX]
    return script("catalogue", _parse, names, prefixes, kinds=ARRAY)


def forget_workers() -> Call[bool]:
    """Whoever lives announces itself again within seconds."""
    return command(bool, "DEL", keys.WORKERS, kinds=NUMBER)


def _parse(answer: Any) -> Catalogue:
    now, workers, models, seen = answer
    cards = [
        {
            **json.loads(text),
            "pace_ms": {stage: float(ms or 0) for stage, ms in zip(PACED, pace, strict=True)},
        }
        for text, pace in models
    ]
    flat = [word.decode() if isinstance(word, bytes) else word for word in seen]
    return Catalogue(
        int(now),
        tuple(json.loads(text) for text in workers),
        {card["name"]: card for card in sorted(cards, key=lambda card: str(card["name"]))},
        {name: int(at) for name, at in zip(flat[::2], flat[1::2], strict=True)},
    )
