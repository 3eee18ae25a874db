"""GET /metrics: the whole installation's numbers out of Redis, and this process's own."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from starlette.requests import Request
from starlette.responses import Response

from storage import users
from storage.jobs import stats as job_stats
from storage.jobs.stats import Stats
from storage.redis.mismatches import mismatches
from tasks import queues
from tasks.errors import JobError
from tasks.loops import LOOPS
from tasks.message import PROBE
from web.errors import json_response
from web.jobs import counters
from web.jobs.service import Pipeline
from web.middleware.hosts import name_of
from web.middleware.validation import API_KEY, matches

BUCKETS_MS = ("5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000",
              "30000", "60000", "inf")  # fmt: skip
"""As in storage/lua/ending.lua."""
STAGES = ("queued", "preprocess", "inference", "postprocess")
ENDS = ("done", "failed", "cancelled")
PRIORITIES = ("interactive", "batch")
STATES = ("preprocessing", "inferring", "postprocessing")
OWN_FAILURES = ("poison", "timeout", "expired", "unavailable", "model_failure", "out_of_memory",
                "other_version")  # fmt: skip
"""Codes of failures that are nobody's picture's fault."""


class NotAllowed(JobError):
    """Numbers are for this machine and for those who have a key."""

    code = "not_allowed"
    status = 401


class _Once:
    """A stats as something that Prometheus' client can write."""

    def __init__(self, stats: Stats, listeners: int) -> None:
        self._census, self._listeners = stats, listeners

    def collect(self) -> Iterable[Metric]:
        of_all = [*under_way(self._census), *totals(self._census)]
        return [*of_all, self._heard(), wrong_answers(), *LOOPS.collect()]

    def _heard(self) -> Metric:
        text = "Channels that requests of this process listen to."
        return GaugeMetricFamily("pixelmill_web_listened_channels", text, value=self._listeners)


def wrong_answers() -> Metric:
    """How many connections of this process were ended as an answer of Redis was out of place."""
    text = "Answers of Redis that did not fit their questions; each ended its connection."
    return CounterMetricFamily("pixelmill_wire_mismatches", text, value=mismatches.count)


async def show(request: Request, pipeline: Pipeline) -> Response:
    """Prometheus text. Open to this machine itself, else with an API key; StorageDown is a 503."""
    await _check(request, pipeline)
    registry = CollectorRegistry()
    stats = await _census(pipeline)
    registry.register(_Once(stats, len(pipeline.hub.listeners)))
    counters.begin(stats.totals)
    text = generate_latest(registry) + generate_latest(REGISTRY)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def show_workers(request: Request, pipeline: Pipeline) -> Response:
    """Targets for Prometheus' http_sd_configs."""
    await _check(request, pipeline)
    workers = (await pipeline.catalogue()).workers
    targets = [
        {"targets": [worker["metrics"]], "labels": {"kind": worker["kind"], "host": worker["host"]}}
        for worker in workers
        if worker.get("metrics")
    ]
    return json_response(targets)


def under_way(stats: Stats) -> list[Metric]:
    """Depth and age of the queues, and what is in its stages."""
    labels = ["model", "priority", "queue"]
    depth = GaugeMetricFamily("pixelmill_queue_depth", "Runs that wait.", labels=labels)
    oldest = GaugeMetricFamily("pixelmill_queue_oldest_seconds", "Longest wait.", labels=labels)
    flight = GaugeMetricFamily(
        "pixelmill_in_flight", "Runs in a stage.", labels=["model", "priority", "state"]
    )
    waiting, busy = _nothing_under_way(stats.totals)
    for group in stats.groups:
        if group.model.startswith(PROBE):  # nobody's work
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
) -> tuple[dict[tuple[str, str, str], tuple[int, float]], dict[tuple[str, str, str], int]]:
    """(depth, oldest s) of every queue, runs in every stage: a gauge that is missing is no zero."""
    priorities = [(model, priority) for model in models for priority in PRIORITIES]
    waiting = {
        (*of, queues.stage_queue(stage, of[0])): (0, 0.0)
        for of in priorities
        for stage in queues.STAGES
    }
    return waiting, {(*of, state): 0 for of in priorities for state in STATES}


def totals(stats: Stats) -> list[Metric]:
    """Ends, hits, failures by code, times of stages: for ever, as far as the state Redis knows."""
    hits = CounterMetricFamily("pixelmill_hits", "Answered from the cache.", labels=["model"])
    ends = CounterMetricFamily("pixelmill_runs", "Ended runs.", labels=["model", "state"])
    failed = CounterMetricFamily(
        "pixelmill_failures",
        "Failed runs; `poison` brought workers down.",
        labels=["model", "code"],
    )
    times = HistogramMetricFamily(
        "pixelmill_stage_seconds", "Time of a run in a stage.", labels=["model", "stage"]
    )
    for model, total in stats.totals.items():
        hits.add_metric([model], float(total.get("hit", 0)))
        for state in ENDS:
            ends.add_metric([model, state], float(total.get(state, 0)))
        for name, value in {**{f"failed:{code}": "0" for code in OWN_FAILURES}, **total}.items():
            if name.startswith("failed:"):
                failed.add_metric([model, name.removeprefix("failed:")], float(value))
        for stage in STAGES:
            _add_times(times, [model, stage], total, stage)
    return [hits, ends, failed, times]


def _add_times(
    times: HistogramMetricFamily, labels: list[str], counts: Mapping[str, str], stage: str
) -> None:
    so_far, buckets = 0.0, []
    for most in BUCKETS_MS:
        so_far += float(counts.get(f"le:{stage}:{most}", 0))
        buckets.append(("+Inf" if most == "inf" else f"{int(most) / 1000:g}", so_far))
    times.add_metric(labels, buckets, float(counts.get(f"ms:{stage}", 0)) / 1000)


async def _census(pipeline: Pipeline) -> Stats:
    stats = await pipeline.state.do(job_stats.read())
    while stats.after:
        stats = stats.with_page(await pipeline.state.do(job_stats.read(stats.after)))
    return stats


async def _check(request: Request, pipeline: Pipeline) -> None:
    if not _is_local(request) and not await _has_key(request, pipeline):
        hint = "Prometheus: authorization, credentials: <key>."
        raise NotAllowed("send an API key", hint=hint)


def _is_local(request: Request) -> bool:
    """From this machine and not through a proxy on it."""
    peer = request.client.host if request.client else ""
    asked = name_of(request.headers.get("host", ""))
    is_forwarded = any(name in request.headers for name in ("x-forwarded-for", "forwarded"))
    return _is_loopback(peer) and _is_loopback(asked) and not is_forwarded


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


async def _has_key(request: Request, pipeline: Pipeline) -> bool:
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not matches(API_KEY, key.strip()):
        return False
    return await pipeline.state.do(users.user_of_key(key.strip())) is not None
