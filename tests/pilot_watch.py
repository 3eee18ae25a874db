"""A model under the eyes of the pilot, whose simulated clock looks every five seconds."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from storage.pilot import Order
from storage.pilot_log import Decision
from web.pilot import policy
from web.pilot.signals import Latency, Signals
from web.pilot.verdict import Limits, Memory

QUIET = Signals(
    "toy",
    0.0,
    workers=1,
    profiles=("fast", "best"),
    default_profile="best",
    covered_s=300.0,
    versions=("old",),
)
SLOW = replace(QUIET, latest=Latency(3.0, 40), lasting=Latency(3.0, 400), runs=9)
FAST = replace(QUIET, latest=Latency(0.5, 40), lasting=Latency(0.5, 400), runs=1)


@dataclass
class Watch:
    """A model under the pilot's eyes."""

    order: Order = Order(version="old", workers=1)
    limits: Limits = Limits()
    memory: Memory = Memory()
    at_s: float = 0.0
    decisions: list[Decision] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)

    def see(self, signals: Signals, seconds: float = 5.0, **ruling: bool) -> list[Decision]:
        """Look at the same for so long; answers what was decided meanwhile."""
        first = len(self.decisions)
        for _ in range(max(1, int(seconds / 5))):
            self.at_s += 5.0
            now = replace(signals, at_s=self.at_s)
            made = policy.rule(now, self.order, self.memory, self.limits, **ruling)
            self.order, self.memory, self.reasons = made.order, made.memory, dict(made.reasons)
            self.decisions += made.decisions
            self.times_s += [self.at_s] * len(made.decisions)
        return self.decisions[first:]


def done(decisions: Iterable[Decision]) -> list[tuple[str, str]]:
    return [(of.rule, of.action) for of in decisions if of.outcome == "done"]
