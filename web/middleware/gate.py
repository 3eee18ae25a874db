"""The first thing that sees a request: checks its head and origin, and seals every answer.

What passes is text of the forms in validation.py, for a host that is ours, and no other site's
doing. Everything behind may rely on that.
"""

from collections.abc import Awaitable, Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.errors import BadInput, JobError
from tasks.settings import settings
from web.errors import error_response
from web.jobs import counters
from web.middleware import validation
from web.middleware.hosts import SAFE_METHODS, is_authorised, is_foreign, origin_at, refuse_host
from web.middleware.identity import own_cookie

PROBES = frozenset({"/healthz", "/readyz", "/metrics", "/metrics/workers"})
"""Asked by machines that name hosts as they like, or none; they start no work and sign nothing."""

_SEALED = "frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:{objects}; "
    "font-src 'self' data:; connect-src 'self' data: blob:{objects}; worker-src 'self' blob:; "
    f"object-src 'none'; frame-src 'none'; {_SEALED}"
)
"""For Gradio's page. It runs inline scripts, and code from its configuration (`js_on_load`)."""
DOCS_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    f"img-src 'self' data:; object-src 'none'; {_SEALED}"
)
FORM_POLICY = f"default-src 'none'; style-src 'self'; {_SEALED}"
OBJECT_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"
"""For pictures: whatever a file claims to be, it runs nothing."""
API_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""For JSON, and for scripts and styles, to which a policy of their own does nothing."""
HSTS = "max-age=31536000"


class Gate:
    """Refuses malformed, misdirected and foreign requests with a 4xx and a sentence."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._public_url = settings().public_url
        self._objects = f"/{settings().s3_bucket}/"
        self._sealing = _headers_by_kind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """On to the application, or an answer that says why not."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # there are none
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send = _sealed(send, self._sealing[self._kind(scope["path"])])
        try:
            self._check(scope)
        except JobError as error:
            counters.REJECTED.labels(error.code).inc()
            await error_response(error)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        path = scope.get("raw_path") or scope["path"].encode()
        head = validation.check_head(path, scope["query_string"], scope["headers"])
        self._check_host(scope, head)
        if scope["method"] not in SAFE_METHODS and is_foreign(head) and not is_authorised(head):
            raise BadInput(
                "a page of another site may not do this",
                code="cross_site",
                status=403,
                hint="Use the page of this address itself, or a program with an API key.",
            )
        if b"cookie" in head:
            _keep_own_cookie(scope, head)
        scope[validation.HEAD] = head

    def _check_host(self, scope: Scope, head: dict[bytes, bytes]) -> None:
        host = head.get(b"host", b"").decode("ascii")
        server = scope.get("server") or ("", 0)
        if origin_at(host, server[0], self._public_url) or scope["path"] in PROBES:
            return
        if not host:
            raise BadInput("the header Host is missing", code="bad_request", status=400)
        refuse_host(host)

    def _kind(self, path: str) -> str:
        if path.startswith("/api/"):
            return "api"
        if path.startswith(self._objects):
            return "object"
        return {"ui": "page", "docs": "docs", "login": "form", "logout": "form"}.get(
            path[1:].partition("/")[0], "api"
        )


def _keep_own_cookie(scope: Scope, head: dict[bytes, bytes]) -> None:
    """Cookies of other applications on this host are dropped unread, whatever is in them."""
    own = own_cookie([value for name, value in scope["headers"] if name == b"cookie"])
    if own == head[b"cookie"]:
        return
    others = [header for header in scope["headers"] if header[0] != b"cookie"]
    scope["headers"] = [*others, (b"cookie", own)] if own else others
    head[b"cookie"] = own


def _sealed(send: Send, headers: Iterable[tuple[bytes, bytes]]) -> Send:
    """Adds the headers to the answer. No coroutine of its own: streams send many messages."""

    def sealed(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers]
        return send(message)

    return sealed


def _headers_by_kind() -> dict[str, list[tuple[bytes, bytes]]]:
    objects = f" {settings().s3_public_url.rstrip('/')}" if settings().s3_public_url else ""
    policies = {
        "page": PAGE_POLICY.format(objects=objects),
        "docs": DOCS_POLICY,
        "form": FORM_POLICY,
        "object": OBJECT_POLICY,
        "api": API_POLICY,
    }
    return {kind: _headers(policy) for kind, policy in policies.items()}


def _headers(policy: str) -> list[tuple[bytes, bytes]]:
    found = {
        "content-security-policy": policy,
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }
    if settings().public_url.startswith("https://"):
        found["strict-transport-security"] = HSTS
    return [(name.encode(), value.encode()) for name, value in found.items()]
