"""Validates path, query, headers, host and origin of every request; sets security headers.

It is the outermost middleware but for the access log. All code behind it may rely on this: the text
of a request matches the patterns in validation.py, its host is one of this server's, and it was not
caused by a page of another site.
"""

import secrets
from collections.abc import Awaitable, Iterable
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.errors import BadInput, JobError
from tasks.settings import settings
from web.adapting import adapted
from web.errors import error_response
from web.jobs import counters
from web.middleware import validation
from web.middleware.cookies import is_https, own_cookies
from web.middleware.cors import is_allowed
from web.middleware.hosts import SAFE_METHODS, is_authorised, is_foreign, origin_at, refuse_host

PROBES = frozenset({"/healthz", "/readyz", "/metrics", "/metrics/workers"})
"""Monitoring systems ask these with any Host or none; they start no work and sign no URLs."""
NONCE = b"[nonce]"
"""Stands in the page's policy where each answer has one of its own."""
_ALL_PAGES = "frame-ancestors 'none'; form-action 'self'"
_BARE = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:{objects}; "
    "font-src 'self' data:; connect-src 'self' data: blob:{objects}; worker-src 'self' blob:; "
    f"object-src 'none'; frame-src 'none'; base-uri 'self'; {_ALL_PAGES}"
)
"""For Gradio's page. What it forces on us: `unsafe-eval`, as it runs code from its configuration
(`js_on_load`, `js=`); inline styles, which its components write; a `base` of its own. Its inline
scripts have a nonce (web/page/gradio_template.py), so no other inline script runs."""
DOCS_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    f"img-src 'self' data:; object-src 'none'; base-uri 'none'; {_ALL_PAGES}"
)
FORM_POLICY = f"default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; {_ALL_PAGES}"
SYSTEM_POLICY = f"{FORM_POLICY}; script-src 'self'; connect-src 'self'"
"""For the page that refreshes itself."""
OBJECT_POLICY = f"{_BARE}; sandbox"
"""For objects in S3: whatever type a file claims to have, the browser runs no code in it."""
STATIC_POLICY = f"{_BARE}; script-src 'self'"
"""For scripts, on which a policy has an effect if a worker runs them: it may load its modules.
Headers that count for documents alone are left out: some 60 files make up the page."""
API_POLICY = _BARE
"""For JSON, on which a policy has no effect."""
_POLICIES = {
    "page": PAGE_POLICY,
    "docs": DOCS_POLICY,
    "form": FORM_POLICY,
    "system": SYSTEM_POLICY,
    "static": STATIC_POLICY,
    "object": OBJECT_POLICY,
    "api": API_POLICY,
}
_KINDS = {
    "ui": "page", "static": "static", "docs": "docs",
    "login": "form", "logout": "form", "account": "form", "system": "system",
}  # fmt: skip
"""First word of a path -> which policy it gets."""
_OTHERS = "form"
"""Of all others: JSON, or to a person the small page of a wrong address."""
_NO_DEVICES = "geolocation=(), microphone=(), payment=(), usb=(), display-capture=()"
_SCRIPTS = ("/ui/assets/", "/ui/static/")
"""Gradio's own."""
_PERMISSIONS = {"page": f"camera=(self), {_NO_DEVICES}"}
"""Kind -> what scripts may ask the browser for: the page takes photos by the camera."""
_FOR_FILES = (
    "content-security-policy",
    "cross-origin-resource-policy",
    "referrer-policy",
    "x-content-type-options",
)
_ANYWHERE = frozenset({"object"})
"""Kinds that other sites may show: a link to a picture, and addresses that were signed."""
script_nonce: ContextVar[str] = ContextVar("script_nonce", default="")
"""What the inline scripts of this answer bear."""
HSTS = "max-age=31536000; includeSubDomains"


class Security:
    """Answers malformed, misdirected and cross-site requests with a 4xx and an error message."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._public_url = settings().public_url
        self._objects = f"/{settings().s3_bucket}/"
        self._security_headers = {kind: security_headers(kind) for kind in _POLICIES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer why it is refused."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # there are no WebSocket routes
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = adapted(scope)
        kind = self._kind(scope["path"])
        headers = self._security_headers[kind]
        send = _with_headers(send, _with_nonce(headers) if kind == "page" else headers)
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
        if scope["method"] not in SAFE_METHODS and is_foreign(head) and not self._may(scope, head):
            raise BadInput(
                "a page of another site may not do this",
                code="cross_site",
                status=403,
                hint="Use the page of this address itself, or a program with an API key.",
            )
        if b"cookie" in head:
            _keep_own_cookies(scope, head)
        scope[validation.HEAD] = head

    def _check_host(self, scope: Scope, head: dict[bytes, bytes]) -> None:
        host = head.get(b"host", b"").decode("ascii")
        server = scope.get("server") or ("", 0)
        if origin_at(host, server[0], self._public_url) or scope["path"] in PROBES:
            return
        if not host:
            raise BadInput("the header Host is missing", code="bad_request", status=400)
        refuse_host(host)

    def _may(self, scope: Scope, head: dict[bytes, bytes]) -> bool:
        """Whether a page of another site may do what it asks for: it has a key, or an address that
        was signed for somebody with a key. Neither is anything that a browser adds by itself."""
        if is_authorised(head):
            return True
        is_signed = scope["path"].startswith(self._objects)
        return is_signed and is_allowed(head.get(b"origin", b"").decode("ascii"))

    def _kind(self, path: str) -> str:
        if path.startswith("/api/"):
            return "api"
        if path.startswith((self._objects, "/s/")):
            return "object"
        if path.startswith(_SCRIPTS):
            return "static"
        return _KINDS.get(path[1:].partition("/")[0], _OTHERS)


def _keep_own_cookies(scope: Scope, head: dict[bytes, bytes]) -> None:
    """Drop the cookies of other applications on this host unread: they may contain anything."""
    cookie = own_cookies([value for name, value in scope["headers"] if name == b"cookie"])
    if cookie == head[b"cookie"]:
        return
    others = [header for header in scope["headers"] if header[0] != b"cookie"]
    scope["headers"] = [*others, (b"cookie", cookie)] if cookie else others
    head[b"cookie"] = cookie


def _with_headers(send: Send, headers: Iterable[tuple[bytes, bytes]]) -> Send:
    """A `send` that adds the headers to the answer.

    Not a coroutine function, as event streams send many messages and each would cost a coroutine.
    """

    def with_headers(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers]
        return send(message)

    return with_headers


def _with_nonce(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of one answer of the page, whose scripts bear a nonce of their own."""
    nonce = secrets.token_urlsafe(16)
    script_nonce.set(nonce)
    return [(name, value.replace(NONCE, nonce.encode())) for name, value in headers]


def security_headers(kind: str) -> list[tuple[bytes, bytes]]:
    """The headers of all answers of a kind: `object` for pictures in S3, and so on."""
    objects = f" {settings().s3_public_url.rstrip('/')}" if settings().s3_public_url else ""
    policy = _POLICIES[kind]
    if kind == "page":
        policy = policy.format(objects=objects, nonce=NONCE.decode())
    return _headers(kind, policy)


def _headers(kind: str, policy: str) -> list[tuple[bytes, bytes]]:
    headers = {
        "content-security-policy": policy,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "cross-origin" if kind in _ANYWHERE else "same-origin",
        "permissions-policy": _PERMISSIONS.get(kind, f"camera=(), {_NO_DEVICES}"),
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }
    if kind == "static":
        headers = {name: headers[name] for name in _FOR_FILES}
    if is_https():
        headers["strict-transport-security"] = HSTS
    return [(name.encode(), value.encode()) for name, value in headers.items()]
