"""What is known of a model at one moment, worked out from readings of its counters: no reading
here, pure functions only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from storage.catalogue import ModelCard
from storage.jobs.load import Load
from web.jobs.admission import variants
from web.pilot.demand import Arrived, Work, outstanding_s, per_s, run_s

WINDOW_S = 30.0
"""How far back latencies and arrivals are looked at."""
STEADY_S = 300.0
"""How far back arrivals are looked at while they do not change: the longer, the less is chance."""
LATELY_S = 10.0
"""How far back a sudden rise of arrivals is looked for."""
OWN_FAILURES = ("poison", "timeout", "model_failure", "out_of_memory")
"""Codes of failures that a version of a model may be to blame for: neither the picture, nor a
server that does not answer, nor a queue that is too long."""


@dataclass(frozen=True)
class Latency:
    """How long jobs of people took from claim to end."""

    p95_s: float | None
    """None without any sample."""
    samples: int


NO_LATENCY = Latency(None, 0)


@dataclass(frozen=True)
class Tally:
    """How the runs of one version ended."""

    ended: int = 0
    """Done, or failed by our fault."""
    failed: int = 0
    """By our fault: OWN_FAILURES."""

    @property
    def share(self) -> float:
        """The part that failed."""
        return self.failed / self.ended if self.ended else 0.0

    def since(self, earlier: "Tally") -> "Tally":
        """What has ended after that."""
        return Tally(self.ended - earlier.ended, self.failed - earlier.failed)


@dataclass(frozen=True)
class Signals:
    """One model at one moment."""

    model: str
    at_s: float
    """Redis time."""
    latest: Latency = NO_LATENCY
    """Of the last WINDOW_S."""
    lasting: Latency = NO_LATENCY
    """Of the whole history that is kept, at most settle_s of the limits."""
    covered_s: float = 0.0
    """How long that history is."""
    work: Work = Work(0.0)
    runs: int = 0
    """That wait or are in progress before the end of inference."""
    workers: int = 0
    """Live workers that serve it."""
    least: int = 1
    """Workers that its work needs with the least room for chance."""
    wanted: int = 1
    """Workers that its work needs with all the room that is kept."""
    wait_s: float = 0.0
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    """Version -> how its runs ended, since the counters began."""
    versions: Sequence[str] = ()
    """Versions that live workers serve, the newest last."""
    profiles: Sequence[str] = ()
    """That are loaded, the lightest first."""
    default_profile: str = ""
    """Of runs that name none."""
    lighter: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    """Parameter -> its default, and the value of it that takes less time."""
    fallback: str = ""
    """A lighter model that may take its work; empty without one that could do it now."""


def latency(new: Load, old: Load, *models: str) -> Latency:
    """Of the jobs of people that ended between two readings, of all these models together; the p95
    is interpolated in its bucket, as Prometheus does."""
    counts, before = _job_counts(new, models), _job_counts(old, models)
    between = {most: count - before.get(most, 0) for most, count in counts.items()}
    total = sum(between.values())
    if total <= 0:
        return NO_LATENCY
    left, lower_ms = 0.95 * total, 0.0
    for most_ms, count in sorted(between.items()):
        if count >= left > 0:
            upper_ms = most_ms if most_ms != float("inf") else lower_ms
            return Latency((lower_ms + (upper_ms - lower_ms) * left / count) / 1000, total)
        left -= count
        lower_ms = most_ms
    return Latency(lower_ms / 1000, total)


def numbers(of: Signals) -> dict[str, float | None]:
    """What a person reads of them, and what an action is measured by."""
    return {
        "p95_s": of.latest.p95_s,
        "samples": of.latest.samples,
        "wait_s": of.wait_s,
        "runs": of.runs,
        "outstanding_s": round(of.work.outstanding_s, 3),
        "arriving": round(of.work.arriving, 3),
        "workers": of.workers,
    }


def tallies(totals: Mapping[str, str]) -> dict[str, Tally]:
    """Version -> how its runs have ended so far; what the picture is to blame for is left out."""
    found: dict[str, Tally] = {}
    for name, value in totals.items():
        kind, _, version = name.partition("@")
        own = kind.removeprefix("failed:") in OWN_FAILURES
        if not version or not (kind == "done" or own):
            continue
        tally, count = found.get(version, Tally()), int(value)
        found[version] = Tally(tally.ended + count, tally.failed + count * own)
    return found


def work(new: Load, history: Sequence[Load], card: ModelCard) -> Work:
    """What waits, and what arrives, by the readings of STEADY_S, WINDOW_S and LATELY_S ago."""
    of_model = {name: new.runs.get(name, 0) for name in variants(card)}
    outstanding = outstanding_s(card, of_model)
    windows_s = (STEADY_S, WINDOW_S, LATELY_S)
    steady, recent, latest = (
        _arrived(new, reading_before(history, new.at_ms - seconds * 1000), card)
        for seconds in windows_s
    )
    if latest.seconds <= 0:
        return Work(outstanding)
    all_s = sum(run_s(card, name) * count for name, count in of_model.items())
    count = sum(of_model.values())
    mean_s = all_s / count if count else run_s(card, card["name"])
    return Work(outstanding, per_s(steady, recent, latest) * mean_s)


def _arrived(new: Load, old: Load, card: ModelCard) -> Arrived:
    """Runs of a model between two readings: what has ended, and by how much more waits."""
    model, names = card["name"], variants(card)
    ended = _ended(new.totals.get(model, {})) - _ended(old.totals.get(model, {}))
    waiting, before = (sum(of.runs.get(name, 0) for name in names) for of in (new, old))
    return Arrived(max(0, ended + waiting - before), (new.at_ms - old.at_ms) / 1000)


def reading_before(history: Sequence[Load], at_ms: float) -> Load:
    """The newest reading that is at least as old as this; else the oldest there is."""
    old_enough = [load for load in history if load.at_ms <= at_ms]
    return old_enough[-1] if old_enough else history[0]


def _job_counts(load: Load, models: Sequence[str]) -> dict[float, int]:
    """Upper bound of a bucket in ms -> jobs of people in it."""
    counts: dict[float, int] = {}
    totals = (load.totals.get(model, {}).items() for model in models)
    for name, value in chain.from_iterable(totals):
        kind, *rest = name.split(":")
        if kind == "job" and len(rest) == 4 and rest[0] == "interactive" and rest[2] == "le":
            most = float(rest[3])
            counts[most] = counts.get(most, 0) + int(value)
    return counts


def _ended(totals: Mapping[str, str]) -> int:
    return sum(int(totals.get(state, 0)) for state in ("done", "failed", "cancelled"))
