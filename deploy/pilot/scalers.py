"""The pilot's own policy in the simulation, and what it is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

from deploy.pilot.simulation import Machine, Scene, Wish
from storage.pilot import Order
from web.pilot import demand, policy
from web.pilot.demand import Work
from web.pilot.signals import LATELY_S, NO_LATENCY, STEADY_S, WINDOW_S, Latency, Signals
from web.pilot.verdict import Limits, Memory

LIGHTER, OWN = "fast", "best"
PEAK_BUSY = 0.6
STABLE_S = 300.0
"""Kubernetes' autoscaler goes down to the most that was wanted in this time."""


@dataclass
class Static:
    """As many workers as the busiest minute needs, all day."""

    workers: int
    name: str = "static peak"

    def first(self) -> int:
        """All."""
        return self.workers

    def look(self, scene: Scene) -> Wish:
        """No change."""
        return Wish(self.workers)


@dataclass
class Stabilised:
    """What Kubernetes' autoscaler does with the number that a metric asks for."""

    every_s: float
    _asked: list[tuple[float, int]] = field(default_factory=list)
    _wish: int = 1

    def first(self) -> int:
        """One."""
        return 1

    def decide(self, at_s: float, present: int, asked: int) -> Wish:
        """Up by no more than four or the double in a period; down after STABLE_S."""
        if at_s % self.every_s < 5.0:
            self._asked = [(t, n) for t, n in self._asked if t > at_s - STABLE_S]
            self._asked.append((at_s, asked))
            most = max(present + 4, present * 2)
            self._wish = min(max(n for _, n in self._asked), most)
        return Wish(self._wish)


@dataclass
class QueueLength(Stabilised):
    """KEDA on the length of the queue: so many waiting runs per worker."""

    every_s: float = 30.0
    per_worker: int = 5
    name: str = "KEDA, queue length"

    def look(self, scene: Scene) -> Wish:
        """Workers in proportion to the queue."""
        present = scene.live + scene.starting
        return self.decide(scene.at_s, present, max(1, ceil(scene.waiting / self.per_worker)))


@dataclass
class Utilisation(Stabilised):
    """As many workers as bring the utilisation of GPUs down to 85 %."""

    every_s: float = 15.0
    target: float = 0.85
    name: str = "GPU utilisation > 85 %"

    def look(self, scene: Scene) -> Wish:
        """Workers in proportion to the utilisation, unless it is within a tenth of the target."""
        ratio, present = scene.utilisation / self.target, scene.live + scene.starting
        asked = present if abs(ratio - 1) < 0.1 else max(1, ceil(scene.live * ratio))
        return self.decide(scene.at_s, present, asked)


@dataclass
class Pilot:
    """The real policy, on numbers of the simulation."""

    machine: Machine
    limits: Limits = Limits()
    target_wait_s: float = 5.0
    room: float = 2.0
    name: str = "the pilot"
    order: Order = Order(version="v", workers=1)
    memory: Memory = Memory()

    def first(self) -> int:
        """One."""
        return 1

    def look(self, scene: Scene) -> Wish:
        """What the policy orders."""
        ruling = policy.rule(self._signals(scene), self.order, self.memory, self.limits)
        self.order, self.memory = ruling.order, ruling.memory
        return Wish(self.order.workers, bool(self.order.profile))

    def _signals(self, scene: Scene) -> Signals:
        saved_s = self.machine.b_s - self.machine.lighter_b_s if self.order.profile else 0.0
        runs = scene.waiting + scene.in_batches
        per_s = demand.per_s(*(_arrived(scene, of_s) for of_s in (STEADY_S, WINDOW_S, LATELY_S)))
        work = Work(runs * (self.machine.run_s - saved_s), per_s * (self.machine.soon_s - saved_s))
        return Signals(
            "model",
            scene.at_s,
            latest=_latency(scene.took_s(30)),
            lasting=_latency(scene.took_s(300)) if self.order.profile else NO_LATENCY,
            covered_s=scene.at_s,
            work=work,
            runs=runs,
            workers=scene.live,
            least=demand.workers_needed(work, self.target_wait_s, self.room * demand.KEPT),
            wanted=demand.workers_needed(work, self.target_wait_s, self.room),
            wait_s=work.outstanding_s / max(scene.live, 1),
            versions=("v",),
            profiles=(LIGHTER, OWN),
            default_profile=OWN,
        )


def _arrived(scene: Scene, seconds: float) -> demand.Arrived:
    seconds = min(seconds, scene.at_s)
    return demand.Arrived(scene.arrived(seconds), seconds)


def _latency(took_s: Sequence[float]) -> Latency:
    ordered = sorted(took_s)
    return Latency(ordered[int(0.95 * (len(ordered) - 1))] if ordered else None, len(ordered))


def peak_workers(per_s: Sequence[float], machine: Machine) -> int:
    """Workers that are busy PEAK_BUSY of the busiest minute."""
    return ceil(max(per_s) * machine.run_s / PEAK_BUSY)
