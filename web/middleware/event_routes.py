"""Calls the endpoints of event streams directly, without the framework's routing.

The framework's routing and parameter validation cost a stream as much as several updates, and each
update of the stream passes the wrappers that the framework puts around an answer's messages. The
routes are still declared in web/api/events.py for the OpenAPI document; the functions are the same.
"""

import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from storage.errors import StorageDown
from tasks.errors import JobError
from web.errors import error_response, storage_response

ALL_JOBS = "/api/v1/events"
ONE_JOB = re.compile("/api/v1/jobs/([^/]+)/events")

Endpoint = Callable[[Request, str], Awaitable[ASGIApp]]
"""Takes a request and the id of a job, or several separated by commas; returns the stream."""


class EventRoutes:
    """Answers the two event routes; all other requests are passed on."""

    def __init__(self, app: ASGIApp, one_job: Endpoint, all_jobs: Endpoint) -> None:
        self.app, self._one_job, self._all_jobs = app, one_job, all_jobs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a stream or an error, or pass the request on."""
        is_get = scope["type"] == "http" and scope["method"] == "GET"
        if is_get and scope["path"].endswith("/events"):
            scope["app"] = self.app  # as the framework does
            if answer := await self._answer(Request(scope, receive)):
                await answer(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _answer(self, request: Request) -> ASGIApp | None:
        path = request.scope["path"]
        match = ONE_JOB.fullmatch(path)
        if path != ALL_JOBS and not match:
            return None
        try:
            if match:
                return await self._one_job(request, match[1])
            return await self._all_jobs(request, request.query_params.get("jobs", ""))
        except JobError as error:
            return error_response(error)
        except StorageDown as error:
            return storage_response(error, path)
