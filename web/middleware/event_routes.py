"""Calls the endpoints of event streams directly, without the framework's routing."""

import re

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from storage.errors import StorageDown
from tasks.errors import JobError
from web.api import routes
from web.errors import error_response, storage_response

ALL_JOBS = "/api/v1/events"
ONE_JOB = re.compile("/api/v1/jobs/([^/]+)/events")


class EventRoutes:
    """Answers the two event routes; all other requests are passed on.

    The framework's routing and parameter validation cost a stream as much as several updates, and
    every update of the stream would pass through the wrappers that the framework puts around an
    answer. The routes are still declared in web/api/routes.py for the OpenAPI document; the
    functions called here are the same.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a stream or an error, or pass the request on."""
        is_get = scope["type"] == "http" and scope["method"] == "GET"
        if is_get and scope["path"].endswith("/events"):
            scope["app"] = self.app  # as the framework does
            request = Request(scope, receive)
            if stream := await _stream(request):
                await stream(scope, receive, send)
                return
        await self.app(scope, receive, send)


async def _stream(request: Request) -> ASGIApp | None:
    path = request.scope["path"]
    match = ONE_JOB.fullmatch(path)
    if path != ALL_JOBS and not match:
        return None
    try:
        if match:
            return await routes.job_events(request, match[1])
        return await routes.all_events(request, request.query_params.get("jobs", ""))
    except JobError as error:
        return error_response(error)
    except StorageDown as error:
        return storage_response(error, path)
