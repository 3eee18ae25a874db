"""Routes whose JSON bodies the middleware has parsed already."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.responses import Response

from web.middleware.json_body import PARSED

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class ParsedRequest(Request):
    """A request whose JSON body is not parsed a second time."""

    @property
    def headers(self) -> Headers:
        """All headers but Content-Type, by which FastAPI would judge the body a second time."""
        if not hasattr(self, "_headers"):
            headers = self.scope["headers"]
            self._headers = Headers(raw=[item for item in headers if item[0] != b"content-type"])
        return self._headers

    async def json(self) -> Any:
        """The value that web/middleware/json_body.py has checked."""
        return self.scope[PARSED]


class ParsedRoute(APIRoute):
    """Hands its endpoint a ParsedRequest."""

    def get_route_handler(self) -> Handler:
        """As FastAPI's documentation says for a request class of one's own."""
        self.strict_content_type = (
            False  # the middleware has checked it, and ParsedRequest hides it
        )
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(ParsedRequest(request.scope, request.receive))

        return handle
