"""Load shedding: refuses requests for new work early while the process has too much to do."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from tasks.errors import Unavailable
from web.errors import error_response
from web.middleware.page_routes import JOIN, UPLOAD

JOBS = "/api/v1/jobs"
PREDICT = "/api/v1/predict/"


class LoadShedding:
    """Calls `check` before each request for work; if it raises Unavailable, that is the answer.

    Pure ASGI and in front of the routes, before a body is read or parsed: refusing a request must
    cost a fraction of serving it, else an overloaded process spends its time on refusals.
    """

    def __init__(self, app: ASGIApp, check: Callable[[], None]) -> None:
        self.app, self.check = app, check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 429 or 503."""
        if _asks_for_work(scope):
            try:
                self.check()
            except Unavailable as error:
                await error_response(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _asks_for_work(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] not in ("POST", "PUT"):
        return False
    path: str = scope["path"]
    return path in (JOBS, JOIN, UPLOAD) or path.startswith(PREDICT)
