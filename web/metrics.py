"""GET /metrics: the whole installation's numbers out of Redis, and those of this process."""

from collections.abc import Iterable, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from starlette.requests import Request
from starlette.responses import Response

from storage import states
from storage.jobs.stats import Stats
from storage.redis.mismatches import mismatches
from tasks import queues
from tasks.errors import JobError
from tasks.loops import LOOPS
from tasks.message import PROBE
from web.api_keys import api_keys_of
from web.errors import json_response
from web.jobs import counters
from web.jobs.service import service_of
from web.jobs.stats import StatsReader
from web.local import is_local
from web.middleware.validation import API_KEY, matches

Labels = tuple[str, str, str]
OWN_FAILURES = ("poison", "timeout", "expired", "unavailable", "model_failure", "out_of_memory",
                "other_version")  # fmt: skip
"""Codes of failures that are not caused by an image or a parameter."""


class NotAllowed(JobError):
    """The request comes neither from this machine nor with an API key."""

    code = "not_allowed"
    status = 401


class _Collector:
    """The numbers of one scrape, as prometheus_client wants them."""

    def __init__(self, stats: Stats, channels: int) -> None:
        self._stats, self._channels = stats, channels

    def collect(self) -> Iterable[Metric]:
        of_installation = [*under_way(self._stats), *totals(self._stats)]
        return [*of_installation, self._subscribed(), mismatched_answers(), *LOOPS.collect()]

    def _subscribed(self) -> Metric:
        text = "Pub/sub channels that requests of this process are subscribed to."
        return GaugeMetricFamily("pixelmill_web_subscribed_channels", text, value=self._channels)


def mismatched_answers() -> Metric:
    """How many connections of this process were closed after a wrong answer of Redis."""
    text = "Answers of Redis that did not fit their questions; each closed its connection."
    return CounterMetricFamily("pixelmill_redis_mismatches", text, value=mismatches.count)


async def show(request: Request, reader: StatsReader) -> Response:
    """Prometheus text, for this machine or with an API key. Raises NotAllowed, StorageDown."""
    await _check(request)
    registry = CollectorRegistry()
    stats = await reader.read()
    registry.register(_Collector(stats, service_of(request).watcher.channels))
    counters.create_series(stats.totals)
    text = generate_latest(registry) + generate_latest(REGISTRY)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def show_workers(request: Request) -> Response:
    """Targets for Prometheus' http_sd_configs. Raises NotAllowed, StorageDown."""
    await _check(request)
    workers = (await service_of(request).catalogue.get()).workers
    targets = [
        {"targets": [worker["metrics"]], "labels": {"kind": worker["kind"], "host": worker["host"]}}
        for worker in workers
        if worker.get("metrics")
    ]
    return json_response(targets)


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


def totals(stats: Stats) -> list[Metric]:
    """Ends, hits, failures by code and times of stages since the state Redis was last emptied."""
    hits = CounterMetricFamily("pixelmill_hits", "Answered from the cache.", labels=["model"])
    ends = CounterMetricFamily("pixelmill_runs", "Ended runs.", labels=["model", "state"])
    failed = CounterMetricFamily(
        "pixelmill_failures",
        "Failed runs; `poison`: they crashed workers.",
        labels=["model", "code"],
    )
    times = HistogramMetricFamily(
        "pixelmill_stage_seconds", "Time of a run in a stage.", labels=["model", "stage"]
    )
    for model, total in stats.totals.items():
        hits.add_metric([model], float(total.get("hit", 0)))
        for state in states.END_STATES:
            ends.add_metric([model, state], float(total.get(state, 0)))
        for name, value in {**{f"failed:{code}": "0" for code in OWN_FAILURES}, **total}.items():
            if name.startswith("failed:"):
                failed.add_metric([model, name.removeprefix("failed:")], float(value))
        for stage in states.TIMED_STAGES:
            _add_times(times, [model, stage], total, stage)
    return [hits, ends, failed, times]


def _add_times(
    times: HistogramMetricFamily, labels: list[str], counts: Mapping[str, str], stage: str
) -> None:
    so_far, buckets = 0.0, []
    for most in (*states.BUCKETS_MS, "inf"):
        so_far += float(counts.get(f"le:{stage}:{most}", 0))
        buckets.append(("+Inf" if most == "inf" else f"{float(most) / 1000:g}", so_far))
    times.add_metric(labels, buckets, float(counts.get(f"ms:{stage}", 0)) / 1000)


async def _check(request: Request) -> None:
    if not is_local(request) and not await _has_key(request):
        hint = "Prometheus: authorization, credentials: <key>."
        raise NotAllowed("send an API key", hint=hint)


async def _has_key(request: Request) -> bool:
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not matches(API_KEY, key.strip()):
        return False
    found = await api_keys_of(request).find(key.strip())
    return found is not None and "read" in found.scopes
