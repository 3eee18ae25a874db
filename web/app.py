"""The web process: API, page, health, and the page's own S3 path in one ASGI app."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp

from storage.calls import TEXT, Async, command
from storage.objects import Objects
from tasks.hub import Hub
from tasks.pipeline import Pipeline
from tasks.reconciler import reconcile
from tasks.resources import CACHE_LIMIT_S, STATE_LIMIT_S, objects
from tasks.settings import settings
from tasks.sweeper import sweep
from web import answers, login, metrics, ui
from web.api import api
from web.door import Door
from web.errors import add_handlers, json_response
from web.identity import Identify, user_of
from web.origin import Passage
from web.shortcut import Shortcut

DESCRIPTION = """Hand in a photo, get a cut-out, boxes or labels.

`POST /api/v1/predict/{model}` with the image as body is all it takes; the cookie or the key that
you send makes the result yours."""

GARBAGE = 20_000
"""Objects that may come before those among them that refer to each other are looked for. Nearly all
that a request makes goes by itself; at Python's 700, looking took an eighth of a stream's CPU."""


def create() -> ASGIApp:
    """Build the app; nothing connects before the first request."""
    pipeline = Pipeline(
        Async(settings().state_url, "the state Redis", STATE_LIMIT_S),
        Async(settings().cache_url, "the cache Redis", CACHE_LIMIT_S),
        objects(),
        Hub(settings().state_url),
    )
    passage = Passage(pipeline.remote.watch)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        background = [
            asyncio.create_task(pipeline.hub.run()),
            asyncio.create_task(reconcile(pipeline)),
            asyncio.create_task(sweep(pipeline.state, pipeline.objects)),
        ]
        gc.collect()
        gc.freeze()  # Gradio's half a million objects stay: nothing to walk through at each request
        gc.set_threshold(GARBAGE)
        yield
        for running in background:
            running.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await pipeline.close()
        await passage.close()

    app = FastAPI(title="Pixelmill", description=DESCRIPTION, version="1", lifespan=lifespan)
    app.state.pipeline = pipeline
    add_handlers(app)
    app.include_router(api)
    app.include_router(login.router)
    _add_health(app, pipeline)
    _add_files(app)
    app.add_route(f"/{settings().s3_bucket}/{{key:path}}", passage.forward, ["GET", "HEAD", "PUT"])

    async def models() -> list[dict[str, Any]]:
        return answers.models(await pipeline.catalogue())

    whole = ui.mount(app, models, user_of)
    # In front of the framework, whose own wrapping of each message costs more than what these do.
    return Identify(Door(Shortcut(whole), pipeline.check_room), pipeline.state)


class Revalidated(StaticFiles):
    """Files that a browser asks after before it uses its copy: an upgrade never mixes versions."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The file, or 304."""
        answer = super().file_response(*args, **kwargs)
        answer.headers["cache-control"] = "no-cache"
        return answer


def _add_health(app: FastAPI, pipeline: Pipeline) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return json_response({"ok": True})

    @app.get("/metrics", include_in_schema=False)
    async def numbers(request: Request) -> Response:
        """For Prometheus."""
        return await metrics.show(request, pipeline)

    @app.get("/metrics/workers", include_in_schema=False)
    async def scraped(request: Request) -> Response:
        """Where live workers show their numbers, as Prometheus' http_sd wants it."""
        return await metrics.show_workers(request, pipeline)

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        """Whether what this process itself needs is there; workers are the catalogue's matter."""
        down = [
            str(error)
            for error in await asyncio.gather(
                pipeline.state.do(command(bool, "PING", kinds=TEXT)),
                pipeline.remote.do(_see),
                return_exceptions=True,
            )
            if isinstance(error, Exception)
        ]
        return json_response({"ok": not down, "down": down}, 503 if down else 200)

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return RedirectResponse("/ui/")


def _see(objects: Objects) -> None:
    with suppress(FileNotFoundError):
        objects.stat("readyz")


def _add_files(app: FastAPI) -> None:
    static = Revalidated(directory=str(files("web") / "static"))
    app.mount("/static", GZipMiddleware(static), "static")
    examples = Path(str(files("web"))).parent / "examples"
    if examples.is_dir():
        app.mount("/examples", StaticFiles(directory=examples), "examples")
