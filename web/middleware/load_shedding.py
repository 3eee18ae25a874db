"""Turns requests for work away, before anything is read or parsed, while there are too many."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from tasks.errors import Unavailable
from web.errors import error_response

JOBS = "/api/v1/jobs"
PREDICT = "/api/v1/predict/"


class LoadShedding:
    """Asks `check` before each request for work; where it raises Unavailable, that is the answer.

    Pure ASGI and before the routes: to refuse must cost a fraction of what it costs to serve, else
    a process that is offered twice as much as it can do is busy saying no.
    """

    def __init__(self, app: ASGIApp, check: Callable[[], None]) -> None:
        self.app, self.check = app, check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """On to the routes, or 429 or 503."""
        if _asks_for_work(scope):
            try:
                self.check()
            except Unavailable as error:
                await error_response(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _asks_for_work(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    path: str = scope["path"]
    return path == JOBS or path.startswith(PREDICT)
