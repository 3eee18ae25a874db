"""What the pilot's rules are given, and what they answer.

A rule is a pure function of what is known of a model now, of what holds, of what was, and of the
settings. Its verdict says in a sentence why it acts or does not, and what is to hold if it acts.
Without enough samples, a rule does not act.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from storage.pilot import Order
from storage.pilot_log import Numbers
from web.pilot.signals import Signals, Tally

SLOW_S = 30.0
"""So long latency must be above its target."""
MIN_SAMPLES = 20
"""Fewer jobs say nothing of a latency."""
MIN_RUNS = 50
"""Fewer runs say nothing of a version."""
MOST_FAILURES = 0.05
"""The part of a version's runs that may fail by our fault."""
BLOCK = 200
"""A version is judged by its last runs: after so many good ones, counting begins anew."""


@dataclass(frozen=True)
class Limits:
    """What the settings say."""

    target_s: float = 2.0
    settle_s: float = 300.0
    cooldown_s: float = 30.0
    canary_percent: float = 10.0
    workers: tuple[int, int] = (1, 100_000)
    """The least and the most."""

    @property
    def keep_s(self) -> float:
        """So long there must be less work before few workers go: twice as long as other things
        settle, as a worker that is missed takes long to start."""
        return 2 * self.settle_s


@dataclass(frozen=True)
class Memory:
    """What happened to a model before: what a rule needs to know besides the present."""

    slow_since_s: float | None = None
    """Since when its latency is above the target."""
    wanted: tuple[tuple[float, int], ...] = ()
    """(when, workers that were needed then), of the last keep_s and the look before that."""
    raised_s: float = float("-inf")
    """When workers were added last."""
    acted_s: Mapping[str, float] = field(default_factory=dict)
    """Rule -> when it acted last."""
    counted: Mapping[str, Tally] = field(default_factory=dict)
    """Version -> what had ended when counting began."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Rule -> the action that was refused last, and why: said once."""


@dataclass(frozen=True)
class Verdict:
    """What a rule says."""

    rule: str
    reason: str
    order: Order | None = None
    """What is to hold from now on; None: the rule does not act, or cannot."""
    action: str = ""
    """What it does or would do, in words; empty: nothing."""
    values: Numbers = field(default_factory=dict)
    thresholds: Numbers = field(default_factory=dict)
    samples: int = 0
    alternatives: tuple[str, ...] = ()
    is_pinned: bool = False
    """Whether a person has fixed what it would change."""


def remembered(memory: Memory, now: Signals, limits: Limits) -> Memory:
    """The memory with the present in it."""
    p95_s, samples = now.latest.p95_s, now.latest.samples
    slow_since_s = memory.slow_since_s
    if p95_s is not None and samples >= MIN_SAMPLES:
        is_slow = p95_s > limits.target_s
        slow_since_s = (now.at_s if slow_since_s is None else slow_since_s) if is_slow else None
    elif not now.runs and not samples:
        slow_since_s = None
    wanted = (*memory.wanted, (now.at_s, within(now.wanted, limits)))
    return replace(
        memory,
        slow_since_s=slow_since_s,
        wanted=since(wanted, now.at_s - limits.keep_s),
        counted={
            version: _counted_from(memory, version, of) for version, of in now.tallies.items()
        },
    )


def within(workers: int, limits: Limits) -> int:
    """As many workers as there may be."""
    least, most = limits.workers
    return min(max(workers, least), most)


def since(entries: tuple[tuple[float, int], ...], at_s: float) -> tuple[tuple[float, int], ...]:
    """The entries since then, and the one before them: together they are as long as that."""
    older = sum(entry[0] <= at_s for entry in entries)
    return entries[max(0, older - 1) :]


def _counted_from(memory: Memory, version: str, tally: Tally) -> Tally:
    """From where on a version's runs count: anew after a block of good ones, and after its past if
    it has a long one when it is first seen."""
    start = memory.counted.get(version)
    if start is None:
        return tally if tally.ended > BLOCK else Tally()
    block = tally.since(start)
    return tally if block.ended >= BLOCK and block.share <= MOST_FAILURES else start
