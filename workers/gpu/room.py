"""How much of each model this worker takes from its queue: what its device needs next, and no more.

Celery bounds messages, and by their number alone: a worker whose pool has 48 threads would hold the
work of several devices, which find the queue empty and run batches of one photo meanwhile.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from threading import Lock
from time import monotonic

from tasks.message import PROBE
from workers.gpu.loaded import Loaded

AHEAD_MS = 250.0
"""Of the device's work that may wait here, where a batch takes less: to bring a message and its
array takes longer than a small batch runs."""
FRESH_S = 1.0
VOLUMES = 3
"""Volumes of a model that are held at a time: one is read while slices of two share batches."""


@dataclass
class _Held:
    """A message that this worker has and has not done."""

    model: str
    runs: int
    outside: int
    """Runs of it that are not with the batcher yet; of volumes, all."""


@dataclass
class Room:
    """What is held of each model, compared with what is wanted. Any thread may call it."""

    waiting: Callable[[], Mapping[str, int]]
    """Variant (`matting`, `matting:quality`) -> photos that are with the batcher and not on the
    device yet."""
    wanted: Callable[[str], float]
    """Model -> how many runs of it are to wait here."""
    _held: dict[str, _Held] = field(default_factory=dict)
    """By the ids of messages."""
    _runs: Counter[str] = field(default_factory=Counter)
    """Model -> runs of all of them, wherever they are."""
    _known: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Model -> (until when it holds, how many runs are wanted)."""
    _lock: Lock = field(default_factory=Lock)

    def has_room(self, queue: str) -> bool:
        """Whether another message of this queue is wanted."""
        model = _model(queue)
        most = self._most(model)
        if self._runs[model] < most:  # enough even if all of them waited, and known at once
            return True
        with self._lock:
            ahead = sum(held.outside for held in self._held.values() if held.model == model)
        ahead += sum(n for name, n in self.waiting().items() if name.partition(":")[0] == model)
        return ahead < most

    def _most(self, model: str) -> float:
        """What is wanted of a model, at most FRESH_S old: this is asked for each message."""
        now = monotonic()
        until, most = self._known.get(model, (0.0, 0.0))
        if now >= until:
            most = self.wanted(model)
            self._known[model] = now + FRESH_S, most
        return most

    def take(self, id: str, queue: str, runs: int) -> None:
        """A message with so many runs has come."""
        model = _model(queue)
        self.leave(id)  # it may come twice
        with self._lock:
            self._held[id] = _Held(model, runs, runs)
            self._runs[model] += runs

    def submit(self, id: str) -> None:
        """A run of this message is with the batcher now."""
        with self._lock:
            if held := self._held.get(id):
                held.outside = max(held.outside - 1, 0)

    def leave(self, id: str) -> None:
        """The message is done, or is put back."""
        with self._lock:
            if held := self._held.pop(id, None):
                self._runs[held.model] -= held.runs

    def forget(self) -> None:
        """No message is held any more: those that are worked on come again."""
        with self._lock:
            self._held.clear()
            self._runs.clear()


def wanted(model: str, loaded: Mapping[str, Loaded]) -> float:
    """How many runs of a model are to wait for a device that has loaded these variants: the next
    batch, or AHEAD_MS of work if that is more. The profile that does most a second decides."""
    own = [each for name, each in loaded.items() if name.partition(":")[0] == model]
    if any(each.model.input == "volume" for each in own):
        return VOLUMES
    sizes = [each.model.max_batch if each.pays else 1 for each in own]
    return max([_ahead(each, n) for each, n in zip(own, sizes, strict=True)], default=1)


def _ahead(loaded: Loaded, largest: int) -> float:
    ms = loaded.cost.a_ms / largest + loaded.cost.b_ms * loaded.usual_share
    return max(largest, AHEAD_MS / ms) if ms else inf


@lru_cache
def _model(queue: str) -> str:
    """Whose inference waits in the queue `gpu.<model>` or `gpu.<model>@<version>`."""
    return queue.removeprefix("gpu.").removeprefix(PROBE).partition("@")[0]
