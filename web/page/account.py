"""The first part of one's account: its password, and the browsers that are signed in."""

from datetime import UTC, datetime
from html import escape
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from tasks.errors import BadInput, JobError
from web.accounts import Session, accounts_of
from web.middleware import cookies
from web.middleware.identity import Identity, identity_of
from web.middleware.validation import OBJECT_ID, matches
from web.page.account_frame import framed
from web.page.agents import name_of
from web.page.html import alert, sentence
from web.page.leaving import leave, provider_address
from web.sign_in import WrongPassword, client_in, sign_in_of

router = APIRouter(prefix="/account", include_in_schema=False)

PART = "/account"

PASSWORD = """<h2>Change the password</h2>
<form method="post" action="/account/password">
<input type="hidden" name="username" autocomplete="username" value="{user}">
<label>Present password <input name="old" type="password" autocomplete="current-password" required>
</label><label>New password <input name="new" type="password" autocomplete="new-password"
minlength="8" maxlength="256" required></label><button>Change</button></form>"""
SESSIONS = """<h2>Signed in on</h2><ul>{rows}</ul>
<form method="post" action="/account/sessions/end-all">
<button class="quiet">Sign out everywhere</button></form>"""
SESSION = """<li><strong translate="no">{agent}</strong>{mark}<br>
<span>{network} since {began}, last used {seen}</span>
<form method="post" action="/account/sessions/end"><input type="hidden" name="id" value="{id}">
<button class="quiet">Sign out</button></form></li>"""
VISITOR = """<p>A cookie in this browser is all that you are known by here.</p>
<p>Whoever has an account finds the same photos on each device.</p>
<p><a class="button" href="/login">Sign in</a></p>"""
ELSEWHERE = "<p>You sign in elsewhere, and nothing of that is kept here.</p>"
DONE = '<p role="status">The password was changed. All other browsers are signed out.</p>'


@router.get("")
async def show(request: Request) -> Response:
    """The page."""
    return await _page(request, "")


@router.post("/password")
async def change(
    request: Request, old: Annotated[str, Form()], new: Annotated[str, Form()]
) -> Response:
    """Change the password: this browser gets a new session, all others are signed out."""
    identity = _signed_in(request)
    if identity.kind != "account":
        raise BadInput("this account has no password here", code="bad_request")
    client = client_in(request, identity.session or "")  # no stranger: wrong tries count here alone
    try:
        await sign_in_of(request).change_password(identity.user, old, new, client)
        begun = await sign_in_of(request).by_password(identity.user, new, client, is_valid=True)
    except JobError as error:
        status = 422 if isinstance(error, WrongPassword) else error.status
        return await _page(request, sentence(error), status)
    answer = framed(identity, PART, DONE)
    answer.headers.append("set-cookie", cookies.set_session(begun.user, begun.token))
    answer.headers.append("set-cookie", cookies.set_known_browser(begun.user, begun.epoch))
    return answer


@router.post("/sessions/end")
async def end(request: Request, id: Annotated[str, Form()]) -> Response:
    """Sign one browser out."""
    identity = _signed_in(request)
    if not matches(OBJECT_ID, id):
        raise BadInput("this is not the id of a session", code="bad_request")
    at_provider = await provider_address(request, identity)
    await accounts_of(request).end_session(identity.user, id)
    return leave(at_provider) if id == identity.session else RedirectResponse("/account", 303)


@router.post("/sessions/end-all")
async def end_all(request: Request) -> Response:
    """Sign all browsers out, this one too."""
    identity = _signed_in(request)
    at_provider = await provider_address(request, identity)
    await accounts_of(request).end_sessions(identity.user)
    return leave(at_provider)


def _signed_in(request: Request) -> Identity:
    """Who has signed in here. An API key changes no password and ends no session."""
    identity = identity_of(request)
    if identity.session is None:
        raise JobError("sign in first", code="not_signed_in", status=401, hint="Open /login.")
    return identity


async def _page(request: Request, message: str, status: int = 200) -> Response:
    identity = identity_of(request)
    if identity.kind == "browser":
        return framed(identity, PART, VISITOR, status)
    password = {"account": PASSWORD, "key": ""}.get(identity.kind, ELSEWHERE)
    password = password.format(user=escape(identity.user))
    begun = await accounts_of(request).sessions(identity.user)
    rows = "".join(_row(session, identity) for session in begun)
    sessions = SESSIONS.format(rows=rows) if rows else ""
    return framed(identity, PART, f"{alert(message)}{password}{sessions}", status)


def _row(session: Session, identity: Identity) -> str:
    return SESSION.format(
        id=escape(session.id),
        agent=escape(name_of(session.agent)),
        network=escape(session.network or "this machine"),
        began=_time(session.began_ms),
        seen=_time(session.seen_ms),
        mark=" <em>this browser</em>" if session.id == identity.session else "",
    )


def _time(at_ms: float) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
