"""Who is asking: one function for REST and page. Bearer key, else signed cookie, else open mode."""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from storage import users
from storage.calls import Async
from storage.errors import StorageDown
from tasks.errors import JobError, Unavailable
from tasks.settings import settings
from web.errors import error_response

COOKIE_S = 30 * 86_400
RENEW_S = 86_400
KEY_CACHE_S = 10.0
UNKNOWN_KEY_S = 1.0
"""A key that is not known may be made, or brought back, at any moment."""
KEY_CACHE_SIZE = 10_000


@dataclass(frozen=True)
class Identity:
    """A user, and the cookie to set with the answer (empty: none)."""

    user: str
    cookie: str = ""


class Unknown(JobError):
    """Nobody we know is asking."""

    code = "not_signed_in"
    status = 401


def cookie_name() -> str:
    """One name per installation, since cookies ignore ports."""
    return f"pixelmill_{settings().installation}"


def signed(user: str, now_s: float | None = None) -> str:
    """The cookie's value: user, time of issue, HMAC."""
    body = f"{user}.{int(now_s if now_s is not None else time.time())}"
    return f"{body}.{_mac(body)}"


def user_of_cookie(value: str) -> tuple[str, int] | None:
    """User and time of issue, if the cookie is ours and not too old."""
    body, _, mac = value.rpartition(".")
    if not body or not hmac.compare_digest(_mac(body), mac):
        return None
    user, _, issued = body.rpartition(".")
    return (user, int(issued)) if time.time() - int(issued) < COOKIE_S else None


def set_cookie(user: str) -> str:
    """The Set-Cookie header that makes this browser this user."""
    secure = "; Secure" if settings().public_url.startswith("https://") else ""
    flags = f"Path=/; Max-Age={COOKIE_S}; HttpOnly; SameSite=Lax{secure}"
    return f"{cookie_name()}={signed(user)}; {flags}"


class Identify:
    """Gives every /api/v1 request `state.user`, and every answer to somebody new a cookie.

    Pure ASGI, since Starlette's function middleware would halve the hit rate.
    """

    def __init__(self, app: ASGIApp, link: Async) -> None:
        self.app, self.link = app, link
        self._keys: dict[str, tuple[float, str | None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Identify, or answer 401; the page itself leads to the sign-in."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path == "/ui/" and not settings().open and user_of(Request(scope)) is None:
            await RedirectResponse("/login")(scope, receive, send)
            return
        if not path.startswith("/api/v1/"):
            await self.app(scope, receive, send)
            return
        try:
            found = await self._identify(Headers(scope=scope))
        except JobError as error:
            await error_response(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["user"] = found.user
        await self.app(scope, receive, _with_cookie(send, found.cookie) if found.cookie else send)

    async def _identify(self, headers: Headers) -> Identity:
        kind, _, key = headers.get("authorization", "").partition(" ")
        if kind:
            return Identity(await self._user_of_key(kind, key.strip()))
        known = user_of_cookie(_cookie(headers.get("cookie", "")))
        if known:
            user, issued = known
            return Identity(user, set_cookie(user) if time.time() - issued > RENEW_S else "")
        if not settings().open:
            raise Unknown(
                "sign in, or send an API key",
                hint="Open /login, or send `Authorization: Bearer <key>`.",
            )
        user = f"u{secrets.token_hex(12)}"
        return Identity(user, set_cookie(user))

    async def _user_of_key(self, kind: str, key: str) -> str:
        if kind.lower() != "bearer":
            raise Unknown(f"authorization by {kind!r} is not known; send `Bearer <key>`")
        digest = hashlib.sha256(key.encode()).hexdigest()
        known = self._keys.get(digest)
        if known is None or known[0] < time.monotonic():
            try:
                user = await self.link.do(users.user_of_key(key))
            except StorageDown as error:
                raise Unavailable(str(error), hint="Try again in a few seconds.") from error
            if len(self._keys) >= KEY_CACHE_SIZE:
                self._keys.clear()
            keep_s = UNKNOWN_KEY_S if user is None else KEY_CACHE_S
            known = self._keys[digest] = (time.monotonic() + keep_s, user)
        if known[1] is None:
            raise Unknown("this API key is not known", hint="Check the key for typing errors.")
        return known[1]


def _with_cookie(send: Send, cookie: str) -> Send:
    async def with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).append("set-cookie", cookie)
        await send(message)

    return with_cookie


def user_of(request: Request) -> str | None:
    """The page's identity: the cookie's user, if there is one."""
    known = user_of_cookie(request.cookies.get(cookie_name(), ""))
    return known[0] if known else None


def _cookie(header: str) -> str:
    name = cookie_name()
    if name not in header:
        return ""
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _mac(body: str) -> str:
    key = settings().secret.encode()
    return hmac.new(key, b"cookie:" + body.encode(), hashlib.sha256).hexdigest()[:40]
