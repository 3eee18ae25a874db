"""Who asks: the one place that resolves each request into an `Identity`.

By API key, else by cookie, else (open mode) as a new visitor. Endpoints ask `identity_of` and
nothing else.
"""

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from storage.errors import StorageDown
from tasks.errors import JobError
from tasks.settings import settings
from web.accounts import Account, Accounts, Role
from web.addresses import client_of
from web.api_keys import ApiKeys
from web.errors import error_response, storage_response
from web.middleware import scopes
from web.middleware.cookies import RENEW_S, set_cookie, user_of_cookie, value_of
from web.middleware.hosts import may_be_foreign
from web.middleware.page_routes import RUN, is_of_programs
from web.middleware.scopes import ALL_SCOPES, NotAllowed
from web.middleware.validation import API_KEY, HEAD, matches
from web.text import shown

HUB_TOKEN = b"x-hf-authorization"
PAGE = "/ui/"
VISITOR = re.compile("u[0-9a-f]{24}")
"""The user that a browser gets in open mode. No account may have such a name."""

Kind = Literal["browser", "account", "key", "proxy", "oidc"]


@dataclass(frozen=True)
class Identity:
    """Who asks."""

    user: str
    """To whom jobs, uploads and results belong."""
    kind: Kind
    """By what they are known: `browser` is a visitor of open mode, known by nothing else."""
    role: Role
    scopes: frozenset[str]
    """What they may do, by web/middleware/scopes.py. A key may have fewer than people have."""
    session: str | None
    """Id of the session that the cookie belongs to, if it belongs to one."""
    address: str
    """Of the client: IPv4, or the /64 network of an IPv6 address; empty for a Unix socket."""


class NotSignedIn(JobError):
    """The request carries no valid API key or cookie, and anonymous use is off."""

    code = "not_signed_in"
    status = 401


def identity_of(request: Request) -> Identity:
    """Who sent this request. `Identify` has resolved it for the API, the page and programs."""
    return cast(Identity, request.state.identity)


def identities_of(request: Request) -> "Identities":
    """What resolves the requests of the app that serves this one."""
    return cast(Identities, request.app.state.identities)


def page_user(request: Request) -> str | None:
    """The user whom `Identify` has found for a request of the page, where open mode is off."""
    identity = request.scope.get("state", {}).get("identity")
    return identity.user if isinstance(identity, Identity) else None


class Identities:
    """Resolves requests into identities."""

    def __init__(self, accounts: Accounts, api_keys: ApiKeys) -> None:
        self._accounts, self._api_keys = accounts, api_keys

    async def resolve(self, scope: Scope) -> tuple[Identity, str]:
        """Who sent the request, and the Set-Cookie value for the answer (empty: none).

        Raises NotSignedIn, or StorageDown when the state Redis does not answer.
        """
        head: Mapping[bytes, bytes] = scope[HEAD]
        kind, _, key = head.get(b"authorization", b"").decode("ascii").partition(" ")
        if kind:
            return await self._of_key(kind, key.strip(), scope), ""
        if is_of_programs(scope["path"]) and (identity := await self._of_token(head, scope)):
            return identity, ""
        if known := user_of_cookie(value_of(head.get(b"cookie", b""))):
            user, issued = known
            is_due = time.time() - issued > RENEW_S and not may_be_foreign(head)
            return await self._of_cookie(user, scope), set_cookie(user) if is_due else ""
        return self._visitor(scope)

    async def resolve_admin(self, request: Request) -> Identity:
        """As `resolve`, for admins alone. Raises NotSignedIn or NotAllowed for others."""
        identity, _ = await self.resolve(request.scope)
        if identity.kind == "browser":
            raise NotSignedIn("send the API key of an admin, or sign in as one")
        if identity.role != "admin":
            raise NotAllowed("this is for admins only")
        scopes.check("admin", identity.scopes)
        return identity

    def _visitor(self, scope: Scope) -> tuple[Identity, str]:
        if settings().auth != "open":
            raise NotSignedIn(
                "sign in, or send an API key",
                hint="Open /login, or send `Authorization: Bearer <key>`.",
            )
        user = f"u{secrets.token_hex(12)}"
        # A browser does not send our cookie with requests that other sites cause. The visitor only
        # seems to be new then, and a new cookie would replace the one that they have.
        cookie = "" if may_be_foreign(scope[HEAD]) else set_cookie(user)
        return _browser(user, scope), cookie

    async def _of_cookie(self, user: str, scope: Scope) -> Identity:
        if VISITOR.fullmatch(user):
            return _browser(user, scope)
        return _of_account(user, "account", await self._accounts.account(user), scope)

    async def _of_token(self, head: Mapping[bytes, bytes], scope: Scope) -> Identity | None:
        """Whom the `token` of Gradio's client stands for; None for one that is not ours: without
        being asked, the client sends to everybody the token of the hub that its user has."""
        kind, _, key = head.get(HUB_TOKEN, b"").decode("latin-1").partition(" ")
        try:
            return await self._of_key(kind, key.strip(), scope) if key else None
        except NotSignedIn:
            return None

    async def _of_key(self, kind: str, key: str, scope: Scope) -> Identity:
        if kind.lower() != "bearer":
            raise NotSignedIn(
                f"the authorization scheme {shown(kind)} is not supported; send `Bearer <key>`"
            )
        found = await self._api_keys.find(key) if matches(API_KEY, key) else None
        if found is None or found.has_expired(time.time() * 1000):
            raise NotSignedIn(
                "this API key is not known, or it has ended",
                hint="Check the key for typing errors, or make another.",
            )
        role: Role = "admin" if found.role == "admin" else "user"
        return Identity(found.user, "key", role, found.scopes, None, client_of(scope))


class Identify:
    """Sets `state.identity` of every request of the API or of programs that use Gradio's protocol.

    The answer to a new visitor gets a cookie.

    Pure ASGI: Starlette's function middleware would halve the rate of cache hits.
    """

    def __init__(self, app: ASGIApp, identities: Identities) -> None:
        self.app, self._identities = app, identities

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Identify the user, or answer 401; the page itself redirects to the sign-in form."""
        path = scope["path"] if scope["type"] == "http" else ""
        if not _needs_identity(path):
            await self.app(scope, receive, send)
            return
        try:
            identity, cookie = await self._identities.resolve(scope)
        except NotSignedIn as error:
            answer = RedirectResponse("/login") if path == PAGE else error_response(error)
            await answer(scope, receive, send)
            return
        except StorageDown as error:
            await storage_response(error, path)(scope, receive, send)
            return
        try:
            scopes.check(scopes.needed(scope["method"], path), identity.scopes)
        except NotAllowed as error:
            await error_response(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["identity"] = identity
        await self.app(scope, receive, _with_cookie(send, cookie) if cookie else send)


def _needs_identity(path: str) -> bool:
    """Gradio draws the page and its form; where open mode is off, for those who have signed in."""
    if path.startswith("/api/v1/") or is_of_programs(path):
        return True
    return path in (PAGE, RUN) and settings().auth != "open"


def _browser(user: str, scope: Scope) -> Identity:
    return Identity(user, "browser", "user", ALL_SCOPES, None, client_of(scope))


def _of_account(user: str, kind: Kind, account: Account, scope: Scope) -> Identity:
    return Identity(user, kind, account.role, ALL_SCOPES, None, client_of(scope))


def _with_cookie(send: Send, cookie: str) -> Send:
    async def with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).append("set-cookie", cookie)
        await send(message)

    return with_cookie
