"""How many workers a model needs, and how long its work waits: pure functions of measured costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, sqrt

from storage.catalogue import Catalogue, ModelCard
from storage.pilot import Scaling
from web.jobs.admission import measured, serving


@dataclass(frozen=True)
class Work:
    """What a model has to do."""

    outstanding_s: float
    """Seconds of one device for all its runs that wait or are in progress."""
    arriving: float = 0.0
    """Seconds of one device that arrive in a second."""


def run_s(card: ModelCard, variant: str) -> float:
    """Seconds of a device that a run of this variant costs in a full batch."""
    a, b, most = _cost(card, variant)
    return (b + a / most) / 1000


def outstanding_s(card: ModelCard, runs: Mapping[str, int]) -> float:
    """Seconds that one device needs for all these runs (variant -> how many) of a model."""
    total_ms = 0.0
    for variant, count in runs.items():
        a, b, most = _cost(card, variant)
        total_ms += count * b + ceil(count / most) * a
    return total_ms / 1000


def workers_needed(work: Work, target_wait_s: float, room: float) -> float:
    """Work outstanding over the target wait; at least what arrives, and room for chance.

    On average `arriving` workers are busy. How many would be at one moment varies by its square
    root, as arrivals do, and `room` such deviations are kept free (square-root staffing: Halfin and
    Whitt, Operations Research 29, 1981).
    """
    return max(work.outstanding_s / target_wait_s, work.arriving + room * sqrt(work.arriving))


def scaling(
    catalogue: Catalogue, works: Mapping[str, Work], target_wait_s: float, room: float
) -> dict[str, Scaling]:
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
        needed = ceil(workers_needed(work, target_wait_s, room) - 1e-9)
        found[name] = Scaling(max(1, needed), round(work.outstanding_s / len(own), 3))
    return found


def _cost(card: ModelCard, variant: str) -> tuple[float, float, int]:
    profile = measured(card, variant)
    cost = profile["cost_ms"]
    return cost["a"], cost["b"], max(profile.get("max_batch", 1), 1)
