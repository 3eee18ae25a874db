"""Who asks: the one place that resolves each request into an `Identity`.

By API key, else by the session of a sign-in or by a proxy, else (open mode) as a visitor. Endpoints
ask `identity_of` and nothing else.
"""

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
from web.accounts import Accounts, Role, session_id_of
from web.addresses import client_of
from web.api_keys import ApiKeys
from web.errors import error_response, storage_response
from web.middleware import scopes
from web.middleware.active_users import ActiveUsers
from web.middleware.cookies import (
    RENEW_S,
    session_of_cookie,
    set_cookie,
    user_of_cookie,
    value_of,
)
from web.middleware.hosts import may_be_foreign
from web.middleware.open_streams import OpenStreams, is_stream
from web.middleware.page_routes import RUN, is_of_programs
from web.middleware.proxy_header import named_by_proxy
from web.middleware.scopes import ALL_SCOPES, NotAllowed
from web.middleware.validation import API_KEY, HEAD, matches
from web.names import VISITOR
from web.text import shown

HUB_TOKEN = b"x-hf-authorization"
PAGE = "/ui/"
ACCOUNT = "/account"
ACCOUNT_PAGES = (ACCOUNT, f"{ACCOUNT}/keys", f"{ACCOUNT}/data")

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
    expires_ms: int = 0
    """When the API key ends, since 1970; 0: never, or they are not known by one."""


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
        self.active = ActiveUsers()

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
        if settings().auth == "proxy":
            return await self._of_proxy(scope), ""
        cookie = value_of(head[b"cookie"]) if b"cookie" in head else ""
        if identity := await self._of_session(cookie, scope):
            return identity, ""
        return self._visitor(cookie, scope)

    async def user_of(self, scope: Scope) -> str:
        """The user of a request, as `resolve` finds them."""
        return (await self.resolve(scope))[0].user

    async def resolve_admin(self, request: Request) -> Identity:
        """As `resolve`, for admins alone. Raises NotSignedIn or NotAllowed for others."""
        identity, _ = await self.resolve(request.scope)
        if identity.kind == "browser":
            raise NotSignedIn("send the API key of an admin, or sign in as one")
        if identity.role != "admin":
            raise NotAllowed("this is for admins only")
        scopes.check("admin", identity.scopes)
        return identity

    def _visitor(self, cookie: str, scope: Scope) -> tuple[Identity, str]:
        """A visitor of open mode, whose cookie is renewed while they come."""
        if settings().auth != "open":
            raise NotSignedIn(
                "sign in, or send an API key",
                hint="Open /login, or send `Authorization: Bearer <key>`.",
            )
        known = user_of_cookie(cookie)
        is_known = known is not None and VISITOR.fullmatch(known[0]) is not None
        user, issued = known if known and is_known else (f"u{secrets.token_hex(12)}", 0)
        # A browser does not send our cookie with requests that other sites cause. The visitor only
        # seems to be new then, and a new cookie would replace the one that they have.
        is_due = time.time() - issued > RENEW_S and not may_be_foreign(scope[HEAD])
        identity = Identity(user, "browser", "user", ALL_SCOPES, None, client_of(scope))
        return identity, set_cookie(user) if is_due else ""

    async def _of_proxy(self, scope: Scope) -> Identity:
        """Whom the proxy in front names."""
        named = named_by_proxy(scope)
        if named is None:
            raise NotSignedIn(
                "the proxy of this installation says who you are, and it did not",
                hint="Use the address of the proxy, or send `Authorization: Bearer <key>`.",
            )
        user, role = named
        provided = await self._accounts.provided(user, role)
        if provided.outcome == "taken":
            hint = "An admin can change that by `pixelmill users sign-in NAME proxy`."
            raise NotAllowed(f"{shown(user)} is a user who does not sign in by a proxy", hint=hint)
        if provided.outcome == "disabled":
            raise NotAllowed(f"the account {shown(user)} is disabled", hint="Ask an admin.")
        return Identity(user, "proxy", provided.role, ALL_SCOPES, None, client_of(scope))

    async def _of_session(self, cookie: str, scope: Scope) -> Identity | None:
        """Whoever has signed in on this browser; None if the session has ended."""
        named = session_of_cookie(cookie)
        if named is None:
            return None
        user, token = named
        session_id = session_id_of(token)
        known = await self._accounts.session(user, session_id)
        if known is None:
            return None
        return Identity(user, known.kind, known.role, ALL_SCOPES, session_id, client_of(scope))

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
        address = client_of(scope)
        return Identity(
            found.user, "key", found.role, found.scopes, None, address, found.expires_ms
        )


class Identify:
    """Sets `state.identity` of every request of the API or of programs that use Gradio's protocol.

    The answer to a new visitor gets a cookie.

    Pure ASGI: Starlette's function middleware would halve the rate of cache hits.
    """

    def __init__(self, app: ASGIApp, identities: Identities, streams: OpenStreams) -> None:
        self.app, self._identities, self._streams = app, identities, streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Identify the user, or answer 401; the page itself redirects to the sign-in form."""
        path = scope["path"] if scope["type"] == "http" else ""
        if not _needs_identity(path):
            await self.app(scope, receive, send)
            return
        try:
            identity, cookie = await self._identities.resolve(scope)
            scopes.check(scopes.needed(scope["method"], path), identity.scopes)
        except StorageDown as error:
            await storage_response(error, path)(scope, receive, send)
            return
        except JobError as error:
            is_page = isinstance(error, NotSignedIn) and path in (PAGE, *ACCOUNT_PAGES)
            answer = RedirectResponse("/login", 303) if is_page else error_response(error)
            await answer(scope, receive, send)
            return
        scope.setdefault("state", {})["identity"] = identity
        self._identities.active.note(identity.user)
        answering = self.app(scope, receive, _with_cookie(send, cookie) if cookie else send)
        if identity.kind != "browser" and is_stream(path):
            answering = self._streams.run(scope, identity.user, answering)
        await answering


def _needs_identity(path: str) -> bool:
    """Gradio draws the page and its form; where open mode is off, for those who have signed in."""
    if path.startswith(("/api/v1/", ACCOUNT)) or is_of_programs(path):
        return True
    return path in (PAGE, RUN) and settings().auth != "open"


def _with_cookie(send: Send, cookie: str) -> Send:
    async def with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).append("set-cookie", cookie)
        await send(message)

    return with_cookie
