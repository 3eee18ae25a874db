"""A discrete-event simulation of workers that serve one model: each batch is an event.

Whoever scales is asked every five seconds, as the real pilot looks. Workers need time to start,
serve batches of what waits, and end the batch that they are at before they stop.
"""

import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Protocol

from web.pilot import demand

LOOK_S = 5.0


@dataclass(frozen=True)
class Machine:
    """One worker, and the two profiles of the model: a batch of n takes a + b * n seconds."""

    a_s: float = 0.1
    b_s: float = 0.2
    lighter_b_s: float = 0.05
    max_batch: int = 4
    start_s: float = 30.0
    most: int = 200

    def batch_s(self, runs: int, lighter: int) -> float:
        """How long a batch takes of which so many runs have the lighter profile."""
        return self.a_s + self.b_s * (runs - lighter) + self.lighter_b_s * lighter

    @property
    def run_s(self) -> float:
        """What a run costs in a full batch."""
        return self.b_s + self.a_s / self.max_batch

    @property
    def soon_s(self) -> float:
        """What a run costs while there are workers enough."""
        return demand.soon_s(self.a_s, self.b_s, self.max_batch)


@dataclass(frozen=True)
class Scene:
    """What whoever scales can see."""

    at_s: float
    waiting: int
    busy: int
    """Workers that are at a batch."""
    live: int
    starting: int
    in_batches: int
    """Runs on devices."""
    utilisation: float
    """The busy part of the live workers' time, in the last minute."""
    arrived: Callable[[float], int]
    """Of how many seconds -> how many runs arrived in them."""
    took_s: Callable[[float], Sequence[float]]
    """Of how many seconds -> how long the runs took that ended in them."""


@dataclass(frozen=True)
class Wish:
    """What whoever scales asks for."""

    workers: int
    is_lighter: bool = False
    """Whether new runs get the lighter profile."""


class Scaler(Protocol):
    """Decides how many workers there are."""

    name: str

    def first(self) -> int:
        """Workers at the beginning, which have started already."""

    def look(self, scene: Scene) -> Wish:
        """Called every LOOK_S seconds."""


@dataclass
class Result:
    """A simulated day."""

    name: str
    took_s: list[float] = field(default_factory=list)
    lighter: int = 0
    worker_s: float = 0.0
    """From the order to start to the end."""
    moves: list[tuple[float, int]] = field(default_factory=list)
    """(when, workers that were asked for): each change is an action."""
    other_actions: int = 0
    """Changes of the profile."""

    @property
    def p95_s(self) -> float:
        """The 95th percentile of how long runs took."""
        ordered = sorted(self.took_s)
        return ordered[int(0.95 * (len(ordered) - 1))] if ordered else 0.0

    @property
    def actions(self) -> int:
        """How often something was changed."""
        return len(self.moves) - 1 + self.other_actions

    def oscillations(self, within_s: float = 300.0) -> int:
        """How often it went up, down and up again within this time."""
        steps = [
            (at, workers > before)
            for (_, before), (at, workers) in zip(self.moves, self.moves[1:], strict=False)
        ]
        ups = [at for at, is_up in steps if is_up]
        downs = [at for at, is_up in steps if not is_up]
        return sum(
            any(first < down < last for down in downs)
            for first, last in zip(ups, ups[1:], strict=False)
            if last - first < within_s
        )


class Simulation:
    """Plays one day with one scaler."""

    def __init__(self, machine: Machine, scaler: Scaler) -> None:
        self._machine, self._scaler = machine, scaler
        self.result = Result(scaler.name, moves=[(0.0, scaler.first())])
        self._queue: deque[tuple[float, bool]] = deque()
        self._idle, self._wanted = scaler.first(), scaler.first()
        self._busy: list[tuple[float, float, tuple[tuple[float, bool], ...]]] = []
        self._starting: list[float] = []
        self._ended: deque[tuple[float, float]] = deque()
        self._arrived: deque[float] = deque()
        self._busy_s: deque[float] = deque(maxlen=int(60 / LOOK_S))
        self._is_lighter = False

    def run(self, moments: Sequence[float]) -> Result:
        """The whole of it."""
        at, ahead = 0.0, deque(moments)
        while ahead or self._queue or self._busy:
            at += LOOK_S
            self._until(at, ahead)
            self._account()
            self._obey(at, self._scaler.look(self._scene(at)))
        return self.result

    def _until(self, end_s: float, ahead: deque[float]) -> None:
        """Let everything happen up to this moment, in order."""
        while True:
            arrival = ahead[0] if ahead else float("inf")
            ready = self._starting[0] if self._starting else float("inf")
            batch = self._busy[0][0] if self._busy else float("inf")
            at = min(arrival, ready, batch)
            if at > end_s:
                return
            if at == batch:
                self._finish(heapq.heappop(self._busy))
            elif at == ready:
                heapq.heappop(self._starting)
                self._idle += 1
            else:
                self._queue.append((ahead.popleft(), self._is_lighter))
                self._arrived.append(at)
            self._serve(at)

    def _serve(self, at: float) -> None:
        while self._queue and self._idle:
            count = min(self._machine.max_batch, len(self._queue))
            runs = tuple(self._queue.popleft() for _ in range(count))
            lighter = sum(is_lighter for _, is_lighter in runs)
            self.result.lighter += lighter
            self._idle -= 1
            heapq.heappush(self._busy, (at + self._machine.batch_s(count, lighter), at, runs))

    def _finish(self, batch: tuple[float, float, tuple[tuple[float, bool], ...]]) -> None:
        at, _, runs = batch
        for arrived, _ in runs:
            self.result.took_s.append(at - arrived)
            self._ended.append((at, at - arrived))
        if self._count() > self._wanted:  # it was told to stop, and has ended its batch
            return
        self._idle += 1

    def _count(self) -> int:
        """Workers that live or start, the one that has just ended a batch included."""
        return self._idle + len(self._busy) + len(self._starting) + 1

    def _account(self) -> None:
        workers = self._idle + len(self._busy) + len(self._starting)
        self.result.worker_s += workers * LOOK_S
        live = self._idle + len(self._busy)
        self._busy_s.append(len(self._busy) / live if live else 1.0)

    def _obey(self, at: float, wish: Wish) -> None:
        wanted = min(max(wish.workers, 1), self._machine.most)
        if wish.is_lighter != self._is_lighter:
            self._is_lighter = wish.is_lighter
            self.result.other_actions += 1
        if wanted != self._wanted:
            self.result.moves.append((at, wanted))
        self._wanted = wanted
        count = self._idle + len(self._busy) + len(self._starting)
        for _ in range(wanted - count):
            heapq.heappush(self._starting, at + self._machine.start_s)
        surplus = max(0, count - wanted)
        stopped = min(surplus, len(self._starting))
        self._starting = self._starting[: len(self._starting) - stopped]
        self._idle -= min(self._idle, surplus - stopped)
        self._serve(at)

    def _scene(self, at: float) -> Scene:
        while self._ended and self._ended[0][0] < at - 300:
            self._ended.popleft()
        while self._arrived and self._arrived[0] < at - 300:
            self._arrived.popleft()
        return Scene(
            at,
            len(self._queue),
            len(self._busy),
            self._idle + len(self._busy),
            len(self._starting),
            sum(len(runs) for _, _, runs in self._busy),
            sum(self._busy_s) / len(self._busy_s),
            lambda seconds: len(self._arrived) - bisect_left(self._arrived, at - seconds),
            lambda seconds: self._took_s(at - seconds),
        )

    def _took_s(self, since_s: float) -> list[float]:
        """How long the runs took that ended since then."""
        return [took for _, took in takewhile(lambda of: of[0] >= since_s, reversed(self._ended))]
