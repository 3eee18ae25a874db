"""Serves the installation below a path of its host, where PIXELMILL_PUBLIC_URL has one.

For `https://host/mill`, requests for `/mill/...` are those for `/...`, and redirects to `/...` lead
to `/mill/...`. All code behind knows paths from the root. What has no such path in front is served
too: probes ask a web process itself, and a proxy may have taken it off already. Links in HTML get
the path in web/page/html.py, those of scripts in web/static/api.js.
"""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.settings import settings


class SubPath:
    """Takes the path off requests, and puts it in front of redirects."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._path = settings().sub_path
        self._raw = self._path.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http":
            scope = self._below(scope)
            send = self._redirecting(send)
        await self.app(scope, receive, send)

    def _below(self, scope: Scope) -> Scope:
        path: str = scope["path"]
        if path != self._path and not path.startswith(f"{self._path}/"):
            return scope
        raw = scope["raw_path"].removeprefix(self._raw) or b"/"
        return {**scope, "path": path.removeprefix(self._path) or "/", "raw_path": raw}

    def _redirecting(self, send: Send) -> Send:
        def redirecting(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = [self._redirected(*item) for item in message["headers"]]
            return send(message)

        return redirecting

    def _redirected(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        is_path = name.lower() == b"location" and value[:1] == b"/" and value[:2] != b"//"
        return name, self._raw + value if is_path else value
