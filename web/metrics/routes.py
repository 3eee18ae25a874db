"""GET /metrics, /metrics/workers and /metrics/scaling: for this machine, or with an API key."""

from collections.abc import Iterator, Sequence

from fastapi import FastAPI
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from storage.redis.mismatches import mismatches
from tasks.errors import BadInput, JobError, Unavailable
from tasks.loops import LOOPS
from web.api_keys import api_keys_of
from web.errors import json_response
from web.jobs import counters
from web.jobs.service import service_of
from web.jobs.stats import StatsReader
from web.local import is_local
from web.metrics.installation import of_installation
from web.middleware.identity import identities_of
from web.middleware.validation import API_KEY, matches
from web.text import shown


class NotAllowed(JobError):
    """The request comes neither from this machine nor with an API key."""

    code = "not_allowed"
    status = 401


class OwnMetrics:
    """The numbers of this web process, beside those that it counts in REGISTRY."""

    def __init__(self, channels: int, users: int) -> None:
        self._channels, self._users = channels, users

    def collect(self) -> Iterator[Metric]:
        """At the moment of a scrape."""
        channels = "Pub/sub channels that requests of this process are subscribed to."
        yield GaugeMetricFamily("pixelmill_web_subscribed_channels", channels, self._channels)
        users = "Users who have asked this process for something in the last five minutes."
        yield GaugeMetricFamily("pixelmill_active_users", users, self._users)
        yield mismatched_answers()
        yield from LOOPS.collect()


class _Collected:
    """Metrics that were collected already, as prometheus_client wants them."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        return self._metrics


def mismatched_answers() -> Metric:
    """How many connections of this process were closed after a wrong answer of Redis."""
    text = "Answers of Redis that did not fit their questions; each closed its connection."
    return CounterMetricFamily("pixelmill_redis_mismatches", text, value=mismatches.count)


def add(app: FastAPI, reader: StatsReader) -> None:
    """Let this app answer them."""

    @app.get("/metrics", include_in_schema=False)
    async def _show(request: Request) -> Response:
        return await show(request, reader)

    @app.get("/metrics/workers", include_in_schema=False)
    async def _show_workers(request: Request) -> Response:
        return await show_workers(request)

    @app.get("/metrics/scaling/{model}", include_in_schema=False)
    async def _show_scaling(request: Request, model: str) -> Response:
        return await show_scaling(request, reader, model)


async def show(request: Request, reader: StatsReader) -> Response:
    """OpenMetrics where that is accepted, else Prometheus text. Raises NotAllowed, StorageDown."""
    await _check(request)
    registry, service = CollectorRegistry(), service_of(request)
    stats, catalogue = await reader.read(), await service.catalogue.get()
    counters.create_series(stats.totals)
    own = OwnMetrics(service.watcher.channels, identities_of(request).active.count())
    shared = of_installation(stats, catalogue, await reader.scaling(catalogue.now_ms))
    registry.register(_Collected([*shared, *own.collect(), *REGISTRY.collect()]))
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), headers={"Content-Type": media_type})


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


async def show_scaling(request: Request, reader: StatsReader, model: str) -> Response:
    """How many workers a model needs, for KEDA's scaler `metrics-api`.

    Raises NotAllowed, StorageDown, BadInput (404) for an unknown model, and Unavailable while the
    pilot knows nothing of it: an autoscaler must then leave things as they are.
    """
    await _check(request)
    catalogue = await service_of(request).catalogue.get()
    if model not in catalogue.models:
        names = ", ".join(catalogue.models)
        raise BadInput(f"no model {shown(model)}; there are: {names}", code="no_model", status=404)
    scaling = (await reader.scaling(catalogue.now_ms)).get(model)
    if scaling is None:
        raise Unavailable(
            "nothing is known of this model at present",
            code="no_data",
            hint="The web process that leads looks every few seconds: try again.",
        )
    return json_response({"workers_wanted": scaling.workers_wanted, "wait_seconds": scaling.wait_s})


async def _check(request: Request) -> None:
    if not is_local(request) and not await _has_key(request):
        # Without the type, http_sd_configs of Prometheus sends the bare key.
        hint = "Prometheus: authorization: {type: Bearer, credentials: <key>}."
        raise NotAllowed("send an API key", hint=hint)


async def _has_key(request: Request) -> bool:
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not matches(API_KEY, key.strip()):
        return False
    found = await api_keys_of(request).find(key.strip())
    return found is not None and "read" in found.scopes
