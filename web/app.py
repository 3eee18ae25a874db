"""The web process as one ASGI app: API, page, health, metrics, and the page's own path to S3."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp

from storage.errors import StorageDown
from storage.redis.calls import AsyncRedis
from storage.redis.durable import DurableRedis
from storage.s3 import certificates
from storage.s3.asynchronous import AsyncObjects
from tasks import tracing
from tasks.clients import objects
from tasks.loops import AsyncPeriodic
from tasks.queues import gpu_queue
from tasks.settings import settings
from web import health, routes
from web.accounts import Accounts
from web.api import (
    audit,
    events,
    export,
    history,
    jobs,
    me,
    me_data,
    me_sessions,
    models,
    pilot,
    predict,
    responses,
    shares,
    uploads,
)
from web.api_keys import ApiKeys
from web.audit import AuditLog
from web.errors import add_handlers
from web.jobs.service import JobService
from web.jobs.stats import StatsReader
from web.jobs.system import SystemReader
from web.limits import CACHE_LIMIT_S, STATE_LIMIT_S
from web.live.pubsub import PubSub
from web.maintenance.audit_trim import audit_trim
from web.maintenance.erasure import Eraser
from web.maintenance.expired_objects import expired_objects
from web.maintenance.outages import OutageCheck
from web.maintenance.probe import Prober
from web.maintenance.reaper import reaper
from web.maintenance.unneeded_uploads import unneeded_uploads
from web.metrics import routes as metrics
from web.middleware.access_log import AccessLog
from web.middleware.compressed import Compressed
from web.middleware.cors import Cors
from web.middleware.direct_routes import DirectRoutes
from web.middleware.event_routes import EventRoutes
from web.middleware.identity import Identify, Identities, page_user
from web.middleware.json_body import CheckedBody
from web.middleware.load_shedding import LoadShedding
from web.middleware.open_streams import OpenStreams
from web.middleware.page_routes import PageRoutes
from web.middleware.preferences import Preferences
from web.middleware.security import Security
from web.middleware.sub_path import SubPath
from web.middleware.tracing import Tracing
from web.page import account, data, gradio_imports, login, missing
from web.page import api_keys as keys_page
from web.page.deferred import DeferredPage
from web.page.docs import add_docs
from web.page.programs import routes as programs
from web.page.system import routes as system_page
from web.pilot.loop import Pilot
from web.s3_proxy import S3Proxy
from web.sign_in import SignIn
from web.words import language

DESCRIPTION = """Send a photo, get a cut-out, boxes or labels.

`POST /api/v1/predict/{model}` with the image as body is all it takes; the cookie or the key that
you send makes the result yours."""

PAGE = "/ui"
STATIC = Path(__file__).parent / "static"
GC_THRESHOLD = 20_000
"""How many objects are allocated before the garbage collector looks for cycles among them. Nearly
all objects of a request are freed without it; at Python's 700, it took an eighth of the CPU of an
event stream."""
ROUTED = (
    predict,
    jobs,
    history,
    shares,
    uploads,
    events,
    models,
    me,
    me_data,
    me_sessions,
    export,
    audit,
    pilot,
    login,
    account,
    keys_page,
    data,
    system_page,
    programs,
    health,
)
"""Modules with routes, those that are asked most first: a path is matched against each in turn."""


def create() -> ASGIApp:
    """Build the app; nothing connects before the first request."""
    state = AsyncRedis(settings().state_url, "the state Redis", STATE_LIMIT_S)
    cache = AsyncRedis(settings().cache_url, "the cache Redis", CACHE_LIMIT_S)
    trusted = certificates.context(settings().s3_ca_file)
    s3 = AsyncObjects(objects(), getattr(objects(), "url", ""), trusted)
    pubsub = PubSub(settings().state_url)
    service, s3_proxy = JobService(state, cache, s3, pubsub), S3Proxy(s3.watch, trusted)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # deploy/supervision/shutdown.py sends this signal before it stops workers and this process.
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, service.room.stop)
        loops = [*_loops(service, state, cache, s3), app.state.open_streams.loop()]
        tracing.start("pixelmill-web")
        pubsub.start()
        for loop in loops:
            loop.start()
        gc.collect()
        gc.freeze()  # what has been imported is not looked at again
        gc.set_threshold(GC_THRESHOLD)
        beginning = asyncio.create_task(page.begin(partial(_is_a_model_live, service)))
        yield
        beginning.cancel()
        await page.stop()
        for loop in loops:
            await loop.stop()
        await pubsub.stop()
        await service.close()
        await s3_proxy.close()
        await asyncio.to_thread(tracing.stop)

    app = _framework(lifespan)
    app.state.service, app.state.s3_proxy = service, s3_proxy
    _add_state(app, state, s3)
    if settings().auth == "oidc":
        _add_oidc(app, state)
    _add_routes(app, StatsReader(state))
    app.add_route(f"/{settings().s3_bucket}/{{key:path}}", s3_proxy.forward, ["GET", "HEAD", "PUT"])

    page = app.state.page = DeferredPage(partial(_make_page, service))
    # Gradio compresses its scripts alone.
    app.mount(PAGE, Compressed(GZipMiddleware(page)))
    identify = partial(Identify, identities=app.state.identities, streams=app.state.open_streams)
    return _with_middleware(app, service, identify)


def _loops(
    service: JobService, state: AsyncRedis, cache: AsyncRedis, s3: AsyncObjects
) -> list[AsyncPeriodic]:
    """What this process does from time to time."""
    return [
        reaper(state, service.catalogue),
        expired_objects(state, objects()),
        unneeded_uploads(state, s3),
        audit_trim(state),
        Pilot(state, service.catalogue).loop(),
        Eraser(state, cache, objects()).loop(),
        health.pulse(),
    ]


def _add_state(app: FastAPI, state: AsyncRedis, s3: AsyncObjects) -> None:
    """What routes and middleware find by its name."""
    service, durable = app.state.service, DurableRedis(settings().state_url, "the state Redis")
    app.state.accounts, app.state.audit = Accounts(state, durable), AuditLog(state)
    app.state.sign_in = SignIn(state, durable, app.state.audit)
    app.state.api_keys = ApiKeys(state, durable, app.state.audit)
    app.state.identities = Identities(app.state.accounts, app.state.api_keys)
    app.state.open_streams = OpenStreams(app.state.identities.user_of)
    app.state.system = SystemReader(state, service)
    app.state.prober = Prober(service, state, s3)
    app.state.outage_check = OutageCheck(state, s3)


def _make_page(service: JobService) -> FastAPI:
    """The page on an app of its own. Imports Gradio."""
    with gradio_imports.left_out():
        from web.page import ui
        from web.page.programs import description

    async def list_models() -> list[responses.ModelBody]:
        return responses.models(await service.catalogue.get(), language.get())

    mounted = ui.mount(FastAPI(openapi_url=None), list_models, page_user)
    description.describe()  # takes long enough to be noticed by requests
    return mounted


async def _is_a_model_live(service: JobService) -> bool:
    with suppress(StorageDown):
        catalogue = await service.catalogue.get()
        return any(catalogue.is_live(gpu_queue(name)) for name in catalogue.models)
    return False


def _framework(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> FastAPI:
    return FastAPI(
        title="Pixelmill",
        description=DESCRIPTION,
        version="1",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages run scripts of a CDN
        redoc_url=None,
        openapi_url=None,  # web/api/openapi.py answers with it
        servers=[{"url": settings().sub_path}] if settings().sub_path else None,
        redirect_slashes=False,  # a redirect would repeat the host and scheme of the request
        # It is off unless OpenTelemetry is set up, but finds that out anew for every request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )


def _add_routes(app: FastAPI, stats: StatsReader) -> None:
    add_handlers(app, missing.page)
    for module in ROUTED:
        # Not include_router(): it matches the path of each request against a router's routes twice.
        app.router.routes.extend(module.router.routes)
    metrics.add(app, stats)
    _add_entrance(app)
    _add_files(app)
    add_docs(app)


def _add_oidc(app: FastAPI, state: AsyncRedis) -> None:
    from web import oidc  # other modes do without the memory of what this imports
    from web.page import oidc as routes_of_oidc

    app.state.oidc = oidc.Oidc(state)
    app.router.routes.extend(routes_of_oidc.router.routes)


def _with_middleware(
    app: FastAPI, service: JobService, identify: Callable[[ASGIApp], ASGIApp]
) -> ASGIApp:
    """The app behind pure ASGI middleware: Starlette's own wraps every message of an answer, which
    costs more than what these do."""
    streams = EventRoutes(app, events.job_events, events.all_events)
    direct = DirectRoutes(streams, app, [*predict.router.routes, *jobs.router.routes])
    checked = CheckedBody(PageRoutes(direct), partial(routes.is_taken, app))
    entrance: ASGIApp = Security(Preferences(identify(LoadShedding(checked, service.check))))
    if settings().cors_origins:
        entrance = Cors(entrance)
    if settings().access_log:
        entrance = AccessLog(entrance)
    if settings().sub_path:
        entrance = SubPath(entrance)
    return Tracing(entrance) if tracing.is_wanted() else entrance


class Revalidated(StaticFiles):
    """Files that a browser revalidates before it uses its copy: an upgrade never mixes versions."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The file, or 304."""
        answer = super().file_response(*args, **kwargs)
        answer.headers["cache-control"] = "no-cache"
        return answer


def _add_entrance(app: FastAPI) -> None:
    @app.get("/favicon.ico", include_in_schema=False)
    async def icon(request: Request) -> Response:  # Gradio leaves this path to the outer app
        return await Revalidated(directory=STATIC).get_response("icon.svg", request.scope)

    @app.get(PAGE, include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return RedirectResponse(f"{PAGE}/")


def _add_files(app: FastAPI) -> None:
    static = Revalidated(directory=STATIC)
    app.mount("/static", Compressed(GZipMiddleware(static)), "static")
    examples = Path(str(files("web"))).parent / "examples"
    if examples.is_dir():
        app.mount("/examples", StaticFiles(directory=examples), "examples")
