"""How much of each model this worker takes from its queue: what its device needs next, and no more.

Celery bounds messages, and by their number alone: a worker whose pool has 48 threads would hold the
work of several devices, which find the queue empty and run batches of one photo meanwhile.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from threading import Lock

from tasks.message import PROBE
from workers.gpu.loaded import Loaded

AHEAD_MS = 250.0
"""Of the device's work that may wait here, where a batch takes less: to bring a message and its
array takes longer than a small batch runs."""
VOLUMES = 3
"""Volumes of a model that are held at a time: one is read while slices of two share batches."""


@dataclass
class _Held:
    """A message that this worker has and has not done."""

    model: str
    runs: int
    """Those of it that are not with the batcher yet; of volumes, all."""


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
    _lock: Lock = field(default_factory=Lock)

    def has_room(self, queue: str) -> bool:
        """Whether another message of this queue is wanted."""
        model = _model(queue)
        with self._lock:
            ahead = sum(held.runs for held in self._held.values() if held.model == model)
        ahead += sum(n for name, n in self.waiting().items() if name.partition(":")[0] == model)
        return ahead < self.wanted(model)

    def take(self, id: str, queue: str, runs: int) -> None:
        """A message with so many runs has come."""
        with self._lock:
            self._held[id] = _Held(_model(queue), runs)

    def submit(self, id: str) -> None:
        """A run of this message is with the batcher now."""
        with self._lock:
            if held := self._held.get(id):
                held.runs = max(held.runs - 1, 0)

    def leave(self, id: str) -> None:
        """The message is done, or is put back."""
        with self._lock:
            self._held.pop(id, None)

    def forget(self) -> None:
        """No message is held any more: those that are worked on come again."""
        with self._lock:
            self._held.clear()


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


def _model(queue: str) -> str:
    """Whose inference waits in the queue `gpu.<model>` or `gpu.<model>@<version>`."""
    return queue.removeprefix("gpu.").removeprefix(PROBE).partition("@")[0]
