"""Sign-in with a name and a password, and the end of a session."""

from html import escape
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from tasks.errors import BadInput, JobError, Unavailable
from tasks.settings import settings
from web.accounts import accounts_of
from web.errors import json_response, retry_after
from web.first_password import user_of
from web.middleware import cookies
from web.middleware.identity import NotSignedIn, identities_of
from web.middleware.page_routes import LOGIN
from web.middleware.validation import HEAD, MAX_PASSWORD, USER, is_text, matches
from web.new_passwords import WeakPassword
from web.page.html import alert, document, sentence
from web.page.leaving import leave, provider_address
from web.sign_in import Begun, FirstPassword, client_in, sign_in_of

router = APIRouter(include_in_schema=False)

FORM = """<h1>Sign in</h1>{alert}
<form method="post"><label>Name <input name="user" autocomplete="username" required autofocus
autocapitalize="none" spellcheck="false"></label><label>Password <input name="password"
type="password" autocomplete="current-password" required></label><button>Sign in</button></form>"""
BODIES = {
    "oidc": '<h1>Sign in</h1><p><a class="button" href="/login/start">Sign in</a></p>',
    "proxy": "<h1>Sign in</h1><p>The proxy of this installation signs you in. "
    "Open its address.</p>",
}
"""Of the modes in which no password is asked for here."""
CHOOSE = """<h1>Choose a password of your own</h1>{alert}
<form method="post" action="/login/first"><input type="hidden" name="username"
autocomplete="username" value="{user}"><input type="hidden" name="proof" value="{proof}">
<label>New password <input name="new" type="password" autocomplete="new-password" minlength="8"
maxlength="256" required autofocus></label><button>Sign in</button></form>"""
SIGN_OUT = """<h1>Sign out</h1><form method="post"><button>Sign out</button></form>"""


@router.get("/login")
async def form() -> Response:
    """The sign-in form, or where else to sign in."""
    return document("sign in", BODIES.get(settings().auth, FORM.format(alert="")))


@router.post("/login")
async def sign_in(
    request: Request, user: Annotated[str, Form()], password: Annotated[str, Form()]
) -> Response:
    """Check the password; if it is right, begin a session and redirect to the page."""
    try:
        begun = await _begun(request, user, password)
    except FirstPassword as error:
        return _choose(error.proof, user)
    except JobError as error:
        return _refusal(error)
    return _signed_in(begun)


@router.post("/login/first")
async def choose_password(
    request: Request, proof: Annotated[str, Form()], new: Annotated[str, Form()]
) -> Response:
    """Replace the password that somebody was given, and has just typed, by one of their own."""
    try:
        begun = await sign_in_of(request).choose_password(proof, new, client_in(request))
    except WeakPassword as error:
        return _choose(proof, user_of(proof), error)
    except JobError as error:
        return _refusal(error)
    return _signed_in(begun)


@router.post(LOGIN)
async def sign_program_in(
    request: Request, username: Annotated[str, Form()], password: Annotated[str, Form()]
) -> Response:
    """What `gradio_client` sends for `auth=(name, password)`: the answer has the cookie."""
    begun = await _begun(request, username, password)
    cookie = cookies.set_session(begun.user, begun.token)
    return json_response({"success": True}, headers={"set-cookie": cookie})


@router.get("/logout")
async def ask() -> Response:
    """A form with a button: a link on another site cannot sign anybody out."""
    return document("sign out", SIGN_OUT)


@router.post("/logout")
async def sign_out(request: Request) -> Response:
    """End the session here, and at an OpenID provider."""
    try:
        identity, _ = await identities_of(request).resolve(request.scope)
    except NotSignedIn:
        identity = None
    at_provider = await provider_address(request, identity)
    if identity and identity.session:
        await accounts_of(request).end_session(identity.user, identity.session)
    return leave(at_provider)


def _signed_in(begun: Begun) -> Response:
    cookie = cookies.set_session(begun.user, begun.token)
    answer = RedirectResponse("/ui/", 303, {"set-cookie": cookie})
    answer.headers.append("set-cookie", cookies.set_known_browser(begun.user, begun.epoch))
    return answer


def _choose(proof: str, user: str, error: WeakPassword | None = None) -> Response:
    message = alert(sentence(error) if error else "")
    form = CHOOSE.format(alert=message, user=escape(user), proof=escape(proof))
    return document("choose a password", form, error.status if error else 200)


async def _begun(request: Request, user: str, password: str) -> Begun:
    if settings().auth in BODIES:
        raise BadInput("no password is asked for here", code="bad_request", hint="Open /login.")
    is_valid = matches(USER, user) and is_text(password, MAX_PASSWORD)
    client = client_in(request, await _browser(request, user))
    return await sign_in_of(request).by_password(
        user, password if is_valid else "", client, is_valid=is_valid
    )


async def _browser(request: Request, user: str) -> str:
    """The word of a browser that has signed in to this account since its password was set."""
    word, epoch = cookies.known_browser(request.scope[HEAD].get(b"cookie", b""), user)
    is_known = word and epoch == await accounts_of(request).epoch(user)
    return word if is_known else ""


def _refusal(error: JobError) -> Response:
    seconds = error.retry_after_s if isinstance(error, Unavailable) else 0
    headers = retry_after(error.status, seconds)
    return document("sign in", FORM.format(alert=alert(sentence(error))), error.status, headers)
