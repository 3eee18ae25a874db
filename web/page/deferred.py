"""Gradio's part of the app, imported while the process serves already: that takes 4 s of CPU time.

The API, /static and /docs do without Gradio. A request to the page waits until it is there.
"""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from time import monotonic

import structlog
from fastapi import FastAPI
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from tasks.settings import settings

LATEST_S = 10.0
"""So long after the start the import begins, though no model has become live."""
LOOK_S = 0.25
CALM_S = 1.0
"""Pause before the import, in which the first photos are answered."""
RETRY_S = 30.0
"""Pause after an import that failed: requests in it fail with its reason, and cost nothing."""

log = structlog.get_logger()


class DeferredPage:
    """The page as an ASGI app, to be mounted."""

    def __init__(self, make: Callable[[], FastAPI]) -> None:
        """`make` imports Gradio and mounts the page on an app of its own, at the path of this one.
        Runs in a thread."""
        self._make = make
        self._served: asyncio.Task[None] | None = None
        self._made: asyncio.Future[ASGIApp] | None = None
        self._retry_s = 0.0
        self._stopping = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to Gradio, which knows its path on the host (`root_path` in ui.py)."""
        path, inner = settings().sub_path, await self.ready()
        at = {name: path + scope.get(name, "") for name in ("path", "root_path")} if path else {}
        await inner({**scope, **at}, receive, send)

    async def ready(self) -> ASGIApp:
        """Gradio's app; the first caller begins its import, and a later one tries again if it
        failed RETRY_S ago. Raises what the import raises."""
        if self._made is None or self._may_retry(self._made):
            self._made = asyncio.get_running_loop().create_future()
            self._served = asyncio.create_task(self._serve(self._made))
        return await asyncio.shield(self._made)

    def _may_retry(self, made: "asyncio.Future[ASGIApp]") -> bool:
        has_failed = made.done() and made.exception() is not None
        return has_failed and monotonic() >= self._retry_s

    async def begin(self, is_live: Callable[[], Awaitable[bool]]) -> None:
        """Import Gradio once a model is live, so that the import does not hold up the workers' own
        start on a machine of few cores."""
        latest = monotonic() + LATEST_S
        while monotonic() < latest and not await is_live():
            await asyncio.sleep(LOOK_S)
        await asyncio.sleep(CALM_S)
        await self.ready()

    async def stop(self) -> None:
        """End Gradio's own background tasks."""
        self._stopping.set()
        if self._served and self._made and self._made.done():
            await self._served

    async def _serve(self, made: "asyncio.Future[ASGIApp]") -> None:
        """Make the page, and run its lifespan: both ends of it in one task, as it demands."""
        began = monotonic()
        try:
            app = await _in_daemon_thread(self._make)
            async with app.router.lifespan_context(app):
                [page] = [route.app for route in app.routes if isinstance(route, Mount)]
                made.set_result(page)
                log.info("page ready", seconds=round(monotonic() - began, 1))
                await self._stopping.wait()
        except Exception as error:
            log.exception("page not made")
            self._retry_s = monotonic() + RETRY_S
            if not made.done():
                made.set_exception(error)


async def _in_daemon_thread(make: Callable[[], FastAPI]) -> FastAPI:
    """As asyncio.to_thread, but the end of the process does not wait for it."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[FastAPI] = loop.create_future()

    def run() -> None:
        gc.disable()  # looking for cycles among new modules takes a tenth of the import
        try:
            finish = partial(made.set_result, make())
            gc.freeze()  # Gradio's half a million objects are not looked at again
        except Exception as error:
            finish = partial(made.set_exception, error)
        finally:
            gc.enable()
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(finish)

    threading.Thread(target=run, daemon=True, name="page").start()
    return await made
