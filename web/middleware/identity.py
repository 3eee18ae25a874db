"""Who is asking: one function for REST and page. Bearer key, else signed cookie, else open mode."""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from storage import users
from storage.errors import StorageDown
from storage.redis.calls import AsyncRedis
from tasks.errors import JobError, storage_away
from tasks.settings import settings
from tasks.text import shown
from web.errors import error_response
from web.middleware.hosts import is_from_elsewhere
from web.middleware.validation import API_KEY, HEAD, is_form

log = structlog.get_logger()

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
    if not body or not value.isascii() or not hmac.compare_digest(_mac(body), mac):
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

    def __init__(self, app: ASGIApp, link: AsyncRedis) -> None:
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
            found = await self._identify(scope[HEAD])
        except JobError as error:
            await error_response(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["user"] = found.user
        await self.app(scope, receive, _with_cookie(send, found.cookie) if found.cookie else send)

    async def _identify(self, head: Mapping[bytes, bytes]) -> Identity:
        kind, _, key = head.get(b"authorization", b"").decode("ascii").partition(" ")
        if kind:
            return Identity(await self._user_of_key(kind, key.strip()))
        known = user_of_cookie(_value(head.get(b"cookie", b"")))
        if known:
            user, issued = known
            is_due = time.time() - issued > RENEW_S and not is_from_elsewhere(head)
            return Identity(user, set_cookie(user) if is_due else "")
        if not settings().open:
            raise Unknown(
                "sign in, or send an API key",
                hint="Open /login, or send `Authorization: Bearer <key>`.",
            )
        user = f"u{secrets.token_hex(12)}"
        # A browser keeps our cookie back from what other sites ask for: the visitor only seems new,
        # and another cookie would take the place of theirs.
        return Identity(user, "" if is_from_elsewhere(head) else set_cookie(user))

    async def _user_of_key(self, kind: str, key: str) -> str:
        if kind.lower() != "bearer":
            raise Unknown(f"authorization by {shown(kind)} is not known; send `Bearer <key>`")
        if not is_form(API_KEY, key):
            raise _unknown_key()
        digest = hashlib.sha256(key.encode()).hexdigest()
        known = self._keys.get(digest)
        if known is None or known[0] < time.monotonic():
            try:
                user = await self.link.do(users.user_of_key(key))
            except StorageDown as error:
                log.warning("key not looked up", reason=str(error))
                raise storage_away() from error
            if len(self._keys) >= KEY_CACHE_SIZE:
                self._keys.clear()
            keep_s = UNKNOWN_KEY_S if user is None else KEY_CACHE_S
            known = self._keys[digest] = (time.monotonic() + keep_s, user)
        if known[1] is None:
            raise _unknown_key()
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


def own_cookie(values: Sequence[bytes]) -> bytes:
    """Our cookie out of the Cookie headers of a request, as `name=value`; empty if there is none.

    Other applications on this host may have set others, with anything in them.
    """
    for value in values:
        if found := _own_cookie_form().search(value):
            return found[1]
    return b""


@lru_cache(maxsize=1)
def _own_cookie_form() -> re.Pattern[bytes]:
    name = re.escape(cookie_name().encode())
    return re.compile(rb"(?:^|;)[ \t]*(" + name + rb"=[A-Za-z0-9._@+-]{1,200})[ \t]*(?:;|$)")


def _value(cookie: bytes) -> str:
    return cookie.partition(b"=")[2].decode("ascii")


def _unknown_key() -> Unknown:
    return Unknown("this API key is not known", hint="Check the key for typing errors.")


def _mac(body: str) -> str:
    key = settings().secret.encode()
    return hmac.new(key, b"cookie:" + body.encode(), hashlib.sha256).hexdigest()[:40]
