"""The web process: API, page, health, and the page's own S3 path in one ASGI app."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp

from storage.redis.calls import AsyncRedis
from tasks.clients import objects
from tasks.settings import settings
from web import health, metrics
from web.api import responses
from web.api.routes import all_events, api, job_events
from web.errors import add_handlers
from web.jobs.room import Room
from web.jobs.service import Pipeline
from web.limits import CACHE_LIMIT_S, STATE_LIMIT_S
from web.live.pubsub import Hub
from web.maintenance.expired_objects import sweeper
from web.maintenance.probe import Prober
from web.maintenance.reaper import reconciler
from web.middleware.access_log import AccessLog
from web.middleware.event_routes import EventRoutes
from web.middleware.identity import Identify, user_of
from web.middleware.json_body import CheckedBody
from web.middleware.load_shedding import LoadShedding
from web.middleware.page_routes import PageRoutes
from web.middleware.security import Security
from web.page import login, ui
from web.page.docs import add_docs
from web.s3_proxy import S3Proxy

DESCRIPTION = """Hand in a photo, get a cut-out, boxes or labels.

`POST /api/v1/predict/{model}` with the image as body is all it takes; the cookie or the key that
you send makes the result yours."""

GARBAGE = 20_000
"""Objects that may come before those among them that refer to each other are looked for. Nearly all
that a request makes goes by itself; at Python's 700, looking took an eighth of a stream's CPU."""


def create() -> ASGIApp:
    """Build the app; nothing connects before the first request."""
    pipeline = Pipeline(
        AsyncRedis(settings().state_url, "the state Redis", STATE_LIMIT_S),
        AsyncRedis(settings().cache_url, "the cache Redis", CACHE_LIMIT_S),
        objects(),
        Hub(settings().state_url),
    )
    s3_proxy = S3Proxy(pipeline.remote.watch)
    room = Room(pipeline.state)
    pipeline.check_new, pipeline.check_known = room.check_new, room.check_known

    def check_room() -> None:
        room.check_stopping()
        pipeline.check_room()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Sent by whoever is about to stop workers and then us: see deploy/supervision/shutdown.py.
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, room.stop)
        loops = [reconciler(pipeline), sweeper(pipeline.state, pipeline.objects), health.pulse()]
        pipeline.hub.start()
        for loop in loops:
            loop.start()
        gc.collect()
        gc.freeze()  # Gradio's half a million objects stay: nothing to walk through at each request
        gc.set_threshold(GARBAGE)
        yield
        for loop in loops:
            await loop.stop()
        await pipeline.hub.stop()
        await pipeline.close()
        await s3_proxy.close()

    app = FastAPI(
        title="Pixelmill",
        description=DESCRIPTION,
        version="1",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages run scripts of a CDN
        redoc_url=None,
        redirect_slashes=False,  # redirects would name the host and scheme of the request
    )
    app.state.pipeline, app.state.prober = pipeline, Prober(pipeline)
    app.state.room = room
    add_handlers(app)
    app.include_router(api)
    app.include_router(login.router)
    app.include_router(health.router)
    _add_numbers(app, pipeline)
    _add_files(app)
    add_docs(app)
    app.add_route(f"/{settings().s3_bucket}/{{key:path}}", s3_proxy.forward, ["GET", "HEAD", "PUT"])

    async def models() -> list[dict[str, Any]]:
        return responses.models(await pipeline.catalogue())

    whole = ui.mount(app, models, user_of)
    # In front of the framework, whose own wrapping of each message costs more than what these do.
    routes = CheckedBody(PageRoutes(EventRoutes(whole, job_events, all_events)))
    entrance: ASGIApp = Security(Identify(LoadShedding(routes, check_room), pipeline.state))
    return AccessLog(entrance) if settings().access_log else entrance


class Revalidated(StaticFiles):
    """Files that a browser asks after before it uses its copy: an upgrade never mixes versions."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The file, or 304."""
        answer = super().file_response(*args, **kwargs)
        answer.headers["cache-control"] = "no-cache"
        return answer


def _add_numbers(app: FastAPI, pipeline: Pipeline) -> None:
    @app.get("/metrics", include_in_schema=False)
    async def numbers(request: Request) -> Response:
        """For Prometheus."""
        return await metrics.show(request, pipeline)

    @app.get("/metrics/workers", include_in_schema=False)
    async def scraped(request: Request) -> Response:
        """Where live workers show their numbers, as Prometheus' http_sd wants it."""
        return await metrics.show_workers(request, pipeline)

    @app.get("/ui", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return RedirectResponse("/ui/")


def _add_files(app: FastAPI) -> None:
    static = Revalidated(directory=str(files("web") / "static"))
    app.mount("/static", GZipMiddleware(static), "static")
    examples = Path(str(files("web"))).parent / "examples"
    if examples.is_dir():
        app.mount("/examples", StaticFiles(directory=examples), "examples")
