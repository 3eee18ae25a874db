"""One line for each request, where PIXELMILL_ACCESS_LOG asks for it. No id and no secret in it."""

import hashlib
import re
import secrets
from time import perf_counter
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LONG = re.compile(r"[0-9a-f]{16,}")
"""Ids in a path: which job or upload it was is nobody's business who reads the log."""
LONGEST_PATH = 80

log = structlog.get_logger("access")


class AccessLog:
    """Pure ASGI, around everything else, so that refusals at the door are among the lines."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """On, and log when the answer has ended or its client is gone."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = perf_counter()
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
            log.info("request", **_fields(scope, status, sent, perf_counter() - began))


def shortened(path: str) -> str:
    """A path without ids, and not longer than a line bears."""
    return LONG.sub("*", path)[:LONGEST_PATH]


def _fields(scope: Scope, status: int, sent: int, seconds: float) -> dict[str, Any]:
    user = scope.get("state", {}).get("user", "")
    return {
        "id": secrets.token_hex(4),
        "method": scope["method"],
        "path": shortened(scope["path"]),
        "status": status,  # 0: its client was gone before there was one
        "ms": round(seconds * 1000, 1),
        "bytes": sent,
        "user": hashlib.sha256(user.encode()).hexdigest()[:8] if user else "",
    }
