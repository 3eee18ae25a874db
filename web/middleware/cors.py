"""CORS: lets pages of the origins in PIXELMILL_CORS_ORIGINS call the API with an API key.

Cookies play no part in it: no answer allows credentials, so a browser neither sends the identity
cookie nor shows an answer that was made with it, and web/middleware/security.py goes on to refuse
every foreign request that would change something and has no key.
"""

from collections.abc import Awaitable, Iterable
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.settings import names_in, settings

METHODS = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, Accept, Last-Event-ID, Range"
EXPOSED = (
    "Location, Retry-After, Server-Timing, X-Pixelmill-Job, X-Pixelmill-Notes, "
    "Content-Disposition, Content-Length, ETag, Allow"
)
MAX_AGE_S = 3600
"""How long a browser may remember the answer to a preflight request."""


class Cors:
    """Answers preflight requests, and adds the headers that let a page read other answers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._paths = ("/api/", f"/{settings().s3_bucket}/", "/openapi.json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer a preflight request."""
        if scope["type"] != "http" or not scope["path"].startswith(self._paths):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        is_preflight = scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        if not is_allowed(origin):
            await self.app(scope, receive, _with_headers(send, [(b"vary", b"Origin")]))
        elif is_preflight:
            await _preflight(origin)(scope, receive, send)
        else:
            await self.app(scope, receive, _with_headers(send, _read_headers(origin)))


def is_allowed(origin: str) -> bool:
    """Whether pages of this origin may call the API. `*`: all that have an origin."""
    allowed = settings().cors_origins
    return bool(origin and allowed) and _is_one_of(origin.lower(), allowed)


@lru_cache(maxsize=256)
def _is_one_of(origin: str, allowed: str) -> bool:
    origins = {name.rstrip("/").lower() for name in names_in(allowed)}
    return "*" in origins or origin in origins


def _preflight(origin: str) -> Response:
    headers = {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": METHODS,
        "access-control-allow-headers": REQUEST_HEADERS,
        "access-control-max-age": str(MAX_AGE_S),
        "vary": "Origin",
    }
    return Response(status_code=204, headers=headers)


def _read_headers(origin: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", EXPOSED.encode()),
        (b"vary", b"Origin"),
    ]


def _with_headers(send: Send, headers: Iterable[tuple[bytes, bytes]]) -> Send:
    def with_headers(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers]
        return send(message)

    return with_headers
