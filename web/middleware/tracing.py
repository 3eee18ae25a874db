"""A span for each request that may hand in work, where traces are wanted."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks import tracing

SUBMITS = ("POST", "PUT")


class Tracing:
    """Pure ASGI and outside all other middleware: the span lasts until the answer has been sent.

    A client that sends `traceparent` finds the run in its own trace, if it and the sampler want
    that; else the answer's `traceparent` names the new trace.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, inside of a span."""
        if scope["type"] != "http" or scope["method"] not in SUBMITS:
            await self.app(scope, receive, send)
            return
        method = scope["method"]
        with tracing.request(method, Headers(scope=scope)) as span, tracing.inside(span):
            if not span.traceparent:
                await self.app(scope, receive, send)
                return

            async def traced(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableHeaders(scope=message).append("traceparent", span.traceparent)
                    span.set({"http.response.status_code": message["status"]})
                await send(message)

            span.set({"http.request.method": method})
            try:
                await self.app(scope, receive, traced)
            finally:
                if route := scope.get("route"):  # its path has no ids
                    span.set({"http.route": route.path})
                    span.rename(f"{method} {route.path}")
