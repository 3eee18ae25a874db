"""The numbers of the whole installation out of Redis: every web process shows the same."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from storage import states
from storage.catalogue import Catalogue
from storage.jobs.stats import Stats
from storage.pilot import Scaling
from tasks import queues
from tasks.message import PROBE

Labels = tuple[str, str, str]
Counts = Mapping[str, str]
"""The counters of a model: see storage/shared_lua/metrics.lua."""
OWN_FAILURES = ("poison", "timeout", "expired", "unavailable", "model_failure", "out_of_memory",
                "other_version")  # fmt: skip
"""Codes of failures that are not caused by an image or a parameter."""


def of_installation(
    stats: Stats, catalogue: Catalogue, scaling: Mapping[str, Scaling]
) -> Iterator[Metric]:
    """All of them."""
    yield from under_way(stats)
    yield from ends(stats.totals, catalogue.versions)
    yield stage_seconds(stats.totals)
    yield job_seconds(stats.totals, _profiles(catalogue))
    yield live_workers(catalogue)
    yield from wanted(scaling)


def under_way(stats: Stats) -> list[Metric]:
    """Depth and age of each stage's queue, and how many runs are in the stages."""
    labels = ["model", "priority", "queue"]
    depth = GaugeMetricFamily("pixelmill_queue_depth", "Runs that wait.", labels=labels)
    oldest = GaugeMetricFamily("pixelmill_queue_oldest_seconds", "Longest wait.", labels=labels)
    flight = GaugeMetricFamily(
        "pixelmill_in_flight", "Runs in a stage.", labels=["model", "priority", "state"]
    )
    waiting, busy = _nothing_under_way(stats.totals)
    for group in stats.groups:
        if group.model.startswith(PROBE):  # not a user's work
            continue
        if group.state == "waiting":
            names = group.model, group.priority, group.queue
            waiting[names] = (group.count, group.oldest_ms / 1000)
        else:
            busy[group.model, group.priority, group.state] = group.count
    for names, (count, oldest_s) in waiting.items():
        depth.add_metric(names, count)
        oldest.add_metric(names, oldest_s)
    for names, count in busy.items():
        flight.add_metric(names, count)
    return [depth, oldest, flight]


def _nothing_under_way(
    models: Iterable[str],
) -> tuple[dict[Labels, tuple[int, float]], dict[Labels, int]]:
    """Zeros for each queue (depth, oldest s) and stage: a missing gauge does not mean 0."""
    priorities = [(model, str(priority)) for model in models for priority in states.PRIORITIES]
    waiting = {
        (*of, queues.stage_queue(stage, of[0])): (0, 0.0)
        for of in priorities
        for stage in states.STAGES
    }
    return waiting, {(*of, state): 0 for of in priorities for state in states.STAGE_STATES}


def ends(totals: Mapping[str, Counts], versions: Mapping[str, str]) -> list[Metric]:
    """Hits, ended runs and failures by code since the state Redis was last emptied.

    `versions`: model -> the one that is announced now, whose zeros are shown.
    """
    hits = CounterMetricFamily("pixelmill_hits", "Answered from the cache.", labels=["model"])
    runs = CounterMetricFamily(
        "pixelmill_runs", "Ended runs.", labels=["model", "state", "version"]
    )
    failed = CounterMetricFamily(
        "pixelmill_failures",
        "Failed runs; `poison`: they crashed workers.",
        labels=["model", "code", "version"],
    )
    for model, total in totals.items():
        hits.add_metric([model], float(total.get("hit", 0)))
        version = versions.get(model, "")
        for state in states.END_STATES:
            for of, count in _by_version(total, state, version):
                runs.add_metric([model, state, of], count)
        for code in _codes(total):
            for of, count in _by_version(total, f"failed:{code}", version):
                failed.add_metric([model, code, of], count)
    return [hits, runs, failed]


def _codes(total: Counts) -> list[str]:
    """Of all failures that there were, after those that are shown as 0."""
    prefix = "failed:"
    seen = [
        name.removeprefix(prefix) for name in total if name.startswith(prefix) and "@" not in name
    ]
    return list(dict.fromkeys([*OWN_FAILURES, *seen]))


def _by_version(total: Counts, field: str, present: str) -> Iterator[tuple[str, float]]:
    """Version -> its count. What was counted before versions were has the version ''.

    Versions that announce.lua has forgotten are not shown: their series end.
    """
    prefix = f"{field}@"
    counted = {
        name.removeprefix(prefix): float(count)
        for name, count in total.items()
        if name.startswith(prefix)
    }
    rest = float(total.get(field, 0)) - sum(counted.values())
    counted.pop("", None)  # of all that are forgotten
    counts = {present: 0.0} | counted
    if rest:
        counts[""] = counts.get("", 0.0) + rest
    yield from counts.items()


def stage_seconds(totals: Mapping[str, Counts]) -> Metric:
    """How long runs were in each stage."""
    times = HistogramMetricFamily(
        "pixelmill_stage_seconds", "Time of a run in a stage.", labels=["model", "stage"]
    )
    for model, total in totals.items():
        for stage in states.TIMED_STAGES:
            _add_times(
                times, [model, stage], total, states.BUCKETS_MS, f"le:{stage}", f"ms:{stage}"
            )
    return times


def job_seconds(totals: Mapping[str, Counts], profiles: Mapping[str, Sequence[str]]) -> Metric:
    """How long users have waited for results that were computed.

    `profiles`: model -> names of its profiles, the first of which runs count as without one.
    """
    times = HistogramMetricFamily(
        "pixelmill_job_seconds",
        "Time from a run's claim to its end, done or failed.",
        labels=["model", "priority", "profile"],
    )
    for model, total in totals.items():
        first, *others = profiles.get(model) or [""]
        seen = {name.split(":")[2] for name in total if name.startswith("job:")}
        for priority in states.PRIORITIES:
            for profile in sorted({"", *others, *seen}):
                field = f"job:{priority}:{profile}"
                labels = [model, str(priority), profile or first]
                bounds = states.JOB_BUCKETS_MS
                _add_times(times, labels, total, bounds, f"{field}:le", f"{field}:ms")
    return times


def _add_times(
    times: HistogramMetricFamily,
    labels: Sequence[str],
    counts: Counts,
    bounds: Sequence[int],
    bucket: str,
    sum_ms: str,
) -> None:
    """`bucket` and `sum_ms` are the names of the counters."""
    so_far, buckets = 0.0, []
    for name, shown in [*((str(most), f"{most / 1000:g}") for most in bounds), ("inf", "+Inf")]:
        so_far += float(counts.get(f"{bucket}:{name}", 0))
        buckets.append((shown, so_far))
    times.add_metric(labels, buckets, float(counts.get(sum_ms, 0)) / 1000)


def live_workers(catalogue: Catalogue) -> Metric:
    """How many workers take work from each queue: 0 for a model that nobody serves."""
    live = GaugeMetricFamily(
        "pixelmill_workers", "Live workers that take work from a queue.", labels=["queue"]
    )
    for queue in ("cpu", *map(queues.gpu_queue, catalogue.models)):
        live.add_metric([queue], sum(queue in worker["queues"] for worker in catalogue.workers))
    return live


def wanted(scaling: Mapping[str, Scaling]) -> list[Metric]:
    """What the pilot says of each model; nothing of one that it knows nothing of now."""
    workers = GaugeMetricFamily(
        "pixelmill_workers_wanted",
        "Gpu workers that a model needs for its work to begin in time.",
        labels=["model"],
    )
    wait = GaugeMetricFamily(
        "pixelmill_wait_seconds",
        "Estimated time until a run that comes now begins on a device.",
        labels=["model"],
    )
    for model, of in scaling.items():
        workers.add_metric([model], of.workers_wanted)
        wait.add_metric([model], of.wait_s)
    return [workers, wait]


def _profiles(catalogue: Catalogue) -> dict[str, list[str]]:
    return {name: list(card["profiles"]) for name, card in catalogue.models.items()}
