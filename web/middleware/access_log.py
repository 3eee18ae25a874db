"""The access log: one line per request, without ids or secrets; enabled by PIXELMILL_ACCESS_LOG."""

import hashlib
import secrets
from time import perf_counter
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.text import logged

log = structlog.get_logger("access")


class AccessLog:
    """Pure ASGI and outside all other middleware, so that requests they refuse are logged too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; log it once its answer is sent or its client has disconnected."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started_s = perf_counter()
        status, sent = 0, 0

        async def counted(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, counted)
        finally:
            log.info("request", **_fields(scope, status, sent, perf_counter() - started_s))


def _fields(scope: Scope, status: int, sent: int, seconds: float) -> dict[str, Any]:
    identity = scope.get("state", {}).get("identity")
    return {
        "id": secrets.token_hex(4),
        "method": scope["method"],
        "path": logged(scope["path"]),
        "status": status,  # 0: the client disconnected before there was an answer
        "ms": round(seconds * 1000, 1),
        "bytes": sent,
        "user": hashlib.sha256(identity.user.encode()).hexdigest()[:8] if identity else "",
    }
