"""How many workers a model needs, and how long its work waits: pure functions of measured costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, sqrt

from storage.catalogue import Catalogue, ModelCard
from web.jobs.admission import measured, serving

DEAREST = 1.5
"""Runs are to go through the device alone, or with few others, where that costs it at most so many
times what they cost in full batches: who comes alone is answered soonest."""
CHANCE = 3.0
"""Standard deviations by which a number of arrivals may differ by chance."""
KEPT = 0.7
"""The part of the room for chance below which more workers are asked for."""


@dataclass(frozen=True)
class Work:
    """What a model has to do."""

    outstanding_s: float
    """Seconds of one device for all its runs that wait or are in progress."""
    arriving: float = 0.0
    """Seconds of one device that arrive in a second."""


@dataclass(frozen=True)
class Need:
    """How many workers a model needs."""

    least: int
    """With fewer, more are to be started."""
    wanted: int
    """So many are to be started then."""
    wait_s: float
    """Estimated time until a run that comes now would begin on a device."""


def run_s(card: ModelCard, variant: str) -> float:
    """Seconds of a device that a run of this variant costs while there are workers enough."""
    a, b, most = _cost(card, variant)
    return soon_s(a, b, most) / 1000


@dataclass(frozen=True)
class Arrived:
    """How many runs arrived in the last seconds."""

    runs: int
    seconds: float

    @property
    def per_s(self) -> float:
        """On average."""
        return self.runs / self.seconds


def per_s(steady: Arrived, recent: Arrived, latest: Arrived) -> float:
    """Runs that arrive in a second: of a long time, unless a shorter one differs from that by more
    than chance explains; or more, where the last few say so, even without what chance alone may
    have added to them.
    """
    expected = steady.per_s * recent.seconds
    is_other = abs(recent.runs - expected) > CHANCE * sqrt(expected)
    sudden = latest.runs - CHANCE * sqrt(latest.runs)
    return max((recent if is_other else steady).per_s, sudden / latest.seconds)


def soon_s(a: float, b: float, most: int) -> float:
    """What a run costs in the smallest batch that is not too dear; a batch of n takes a + b * n."""
    dearest = DEAREST * (a / most + b)
    return next(a / n + b for n in range(1, most + 1) if n == most or a / n + b <= dearest)


def outstanding_s(card: ModelCard, runs: Mapping[str, int]) -> float:
    """Seconds that one device needs for all these runs (variant -> how many) of a model."""
    total_ms = 0.0
    for variant, count in runs.items():
        a, b, most = _cost(card, variant)
        total_ms += count * b + ceil(count / most) * a
    return total_ms / 1000


def workers_needed(work: Work, target_wait_s: float, room: float) -> int:
    """Work outstanding over the target wait; at least what arrives, and room for chance.

    On average `arriving` workers are busy. How many would be at one moment varies by its square
    root, as arrivals do, and `room` such deviations are kept free (square-root staffing: Halfin and
    Whitt, Operations Research 29, 1981).
    """
    needed = max(work.outstanding_s / target_wait_s, work.arriving + room * sqrt(work.arriving))
    return max(1, ceil(needed - 1e-9))


def scaling(
    catalogue: Catalogue, works: Mapping[str, Work], target_wait_s: float, room: float
) -> dict[str, Need]:
    """What each model needs. Models that share workers need them together.

    Of the work of another model, a model's workers get the part of that model's workers that they
    are. At least one worker is wanted of each: a model without any could not be used.
    """
    of_models = {name: serving(catalogue, name) for name in works}
    found = {}
    for name, own in of_models.items():
        shares = {other: len(own & of) / len(of) for other, of in of_models.items()}
        work = Work(
            sum(works[other].outstanding_s * share for other, share in shares.items()),
            sum(works[other].arriving * share for other, share in shares.items()),
        )
        found[name] = Need(
            workers_needed(work, target_wait_s, room * KEPT),
            workers_needed(work, target_wait_s, room),
            round(work.outstanding_s / len(own), 3),
        )
    return found


def _cost(card: ModelCard, variant: str) -> tuple[float, float, int]:
    profile = measured(card, variant)
    cost = profile["cost_ms"]
    return cost["a"], cost["b"], max(profile.get("max_batch", 1), 1)
