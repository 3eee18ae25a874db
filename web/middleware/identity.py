"""Identifies the user of a request: by API key, else by signed cookie, else (open mode) as new."""

import hashlib
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import structlog
from itsdangerous import BadSignature, TimestampSigner
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from storage.errors import StorageDown
from tasks.errors import JobError, storage_unavailable
from tasks.settings import settings
from web.accounts import Accounts
from web.errors import error_response
from web.middleware.hosts import may_be_foreign
from web.middleware.page_routes import is_of_programs
from web.middleware.validation import API_KEY, HEAD, matches
from web.text import shown

log = structlog.get_logger()

COOKIE_S = 30 * 86_400
"""A cookie is valid for this long after its issue."""
RENEW_S = 86_400
"""A cookie older than this is replaced by a new one."""
KEY_CACHE_S = 10.0
"""How long the user of an API key is cached, and so how long a revoked key may still work."""
UNKNOWN_KEY_S = 1.0
"""Unknown keys are cached for less time, since a key may be created or restored at any moment."""
KEY_CACHE_SIZE = 10_000
HUB_TOKEN = b"x-hf-authorization"


@dataclass(frozen=True)
class Identity:
    """A user, and the Set-Cookie value for the answer (empty: none)."""

    user: str
    cookie: str = ""


class NotSignedIn(JobError):
    """The request carries no valid API key or cookie, and anonymous use is off."""

    code = "not_signed_in"
    status = 401


def cookie_name() -> str:
    """A name per installation: browsers share cookies between all ports of a host."""
    return f"pixelmill_{settings().installation}"


def signed(user: str) -> str:
    """The cookie's value: user, time of issue, signature."""
    return _signer().sign(user).decode()


def user_of_cookie(value: str) -> tuple[str, float] | None:
    """User and time of issue (Unix time in s), if the cookie is ours and not too old."""
    known = _verified(value)
    # Not by `max_age` of unsign(), which also refuses what another host's clock has signed ahead.
    return known if known and time.time() - known[1] < COOKIE_S else None


@lru_cache(maxsize=4096)
def _verified(value: str) -> tuple[str, float] | None:
    """User and time of issue if the signature is ours. Browsers send the same cookie every time."""
    try:
        user, issued = _signer().unsign(value, return_timestamp=True)
    except BadSignature:
        return None
    return user.decode(), issued.timestamp()


def set_cookie(user: str) -> str:
    """The Set-Cookie header that makes this browser this user."""
    secure = "; Secure" if settings().public_url.startswith("https://") else ""
    flags = f"Path=/; Max-Age={COOKIE_S}; HttpOnly; SameSite=Lax{secure}"
    return f"{cookie_name()}={signed(user)}; {flags}"


class Identify:
    """Sets `state.user` of every request of the API or of programs that use Gradio's protocol.

    The answer to a new visitor gets a cookie.

    Pure ASGI: Starlette's function middleware would halve the rate of cache hits.
    """

    def __init__(self, app: ASGIApp, accounts: Accounts) -> None:
        self.app, self.accounts = app, accounts
        self._keys: dict[str, tuple[float, str | None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Identify the user, or answer 401; the page itself redirects to the sign-in form."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path == "/ui/" and not settings().open and user_of(Request(scope)) is None:
            await RedirectResponse("/login")(scope, receive, send)
            return
        is_of_program = is_of_programs(path)
        if not (is_of_program or path.startswith("/api/v1/")):
            await self.app(scope, receive, send)
            return
        try:
            identity = await self._identify(scope[HEAD], is_of_program)
        except JobError as error:
            await error_response(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["user"] = identity.user
        if identity.cookie:
            send = _with_cookie(send, identity.cookie)
        await self.app(scope, receive, send)

    async def _identify(self, head: Mapping[bytes, bytes], is_of_program: bool) -> Identity:
        kind, _, key = head.get(b"authorization", b"").decode("ascii").partition(" ")
        if kind:
            return Identity(await self._user_of_key(kind, key.strip()))
        if is_of_program and (user := await self._user_of_token(head)):
            return Identity(user)
        known = user_of_cookie(_value(head.get(b"cookie", b"")))
        if known:
            user, issued = known
            is_due = time.time() - issued > RENEW_S and not may_be_foreign(head)
            return Identity(user, set_cookie(user) if is_due else "")
        if not settings().open:
            raise NotSignedIn(
                "sign in, or send an API key",
                hint="Open /login, or send `Authorization: Bearer <key>`.",
            )
        user = f"u{secrets.token_hex(12)}"
        # A browser does not send our cookie with requests that other sites cause. The visitor only
        # seems to be new then, and a new cookie would replace the one that they have.
        return Identity(user, "" if may_be_foreign(head) else set_cookie(user))

    async def _user_of_token(self, head: Mapping[bytes, bytes]) -> str | None:
        """Whom the `token` of Gradio's client stands for; None for one that is not ours: without
        being asked, the client sends to everybody the token of the hub that its user has."""
        kind, _, key = head.get(HUB_TOKEN, b"").decode("latin-1").partition(" ")
        try:
            return await self._user_of_key(kind, key.strip()) if key else None
        except NotSignedIn:
            return None

    async def _user_of_key(self, kind: str, key: str) -> str:
        if kind.lower() != "bearer":
            raise NotSignedIn(
                f"the authorization scheme {shown(kind)} is not supported; send `Bearer <key>`"
            )
        if not matches(API_KEY, key):
            raise _unknown_key()
        digest = hashlib.sha256(key.encode()).hexdigest()
        known = self._keys.get(digest)
        if known is None or known[0] < time.monotonic():
            try:
                user = await self.accounts.user_of_key(key)
            except StorageDown as error:
                log.warning("API key not looked up", reason=str(error))
                raise storage_unavailable() from error
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
    """The user that the cookie of a request to the page names, if it is valid."""
    known = user_of_cookie(request.cookies.get(cookie_name(), ""))
    return known[0] if known else None


def own_cookie(values: Sequence[bytes]) -> bytes:
    """Our cookie out of the Cookie headers of a request, as `name=value`; empty if there is none.

    The headers may also have cookies of other applications on this host, with any content.
    """
    for value in values:
        if match := _own_cookie_pattern().search(value):
            return match[1]
    return b""


@lru_cache(maxsize=1)
def _own_cookie_pattern() -> re.Pattern[bytes]:
    name = re.escape(cookie_name().encode())
    return re.compile(rb"(?:^|;)[ \t]*(" + name + rb"=[A-Za-z0-9._@+-]{1,200})[ \t]*(?:;|$)")


def _value(cookie: bytes) -> str:
    return cookie.partition(b"=")[2].decode("ascii")


def _unknown_key() -> NotSignedIn:
    return NotSignedIn("this API key is not known", hint="Check the key for typing errors.")


@lru_cache(maxsize=1)
def _signer() -> TimestampSigner:
    # itsdangerous uses SHA-1 unless it is told otherwise.
    return TimestampSigner(settings().secret, salt="cookie", digest_method=hashlib.sha256)
