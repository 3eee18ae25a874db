"""Leads requests for streams of events to their endpoints past the framework, which costs more."""

import re

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from storage.errors import StorageDown
from tasks.errors import JobError
from web.api import routes
from web.errors import error_response, storage_response

ALL = "/api/v1/events"
ONE = re.compile("/api/v1/jobs/([^/]+)/events")


class EventRoutes:
    """Answers the two routes of events; all else goes on.

    The framework's own way, routes to match and parameters to validate, costs a stream as much as
    several updates, and each update then passes what it has wrapped around the answer. The routes
    stay declared in web/api/routes.py, for their description; they are the same functions.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream, say why not, or go on."""
        is_get = scope["type"] == "http" and scope["method"] == "GET"
        if is_get and scope["path"].endswith("/events"):
            scope["app"] = self.app  # as the framework would
            request = Request(scope, receive)
            if stream := await _stream(request):
                await stream(scope, receive, send)
                return
        await self.app(scope, receive, send)


async def _stream(request: Request) -> ASGIApp | None:
    path = request.scope["path"]
    one = ONE.fullmatch(path)
    if path != ALL and not one:
        return None
    try:
        if one:
            return await routes.job_events(request, one[1])
        return await routes.all_events(request, request.query_params.get("jobs", ""))
    except JobError as error:
        return error_response(error)
    except StorageDown as error:
        return storage_response(error, path)
