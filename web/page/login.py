"""Sign-in with a name and a password: the form, and the cookie that a correct password gets."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from web.accounts import accounts_of
from web.errors import json_response
from web.middleware.cookies import cookie_name, set_cookie
from web.middleware.identity import NotSignedIn
from web.middleware.page_routes import LOGIN
from web.middleware.validation import MAX_PASSWORD, USER, is_text, matches

router = APIRouter(include_in_schema=False)

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Pixelmill: sign in</title>
<link rel="stylesheet" href="/static/login.css">
<main><h1>Pixelmill</h1><p role="alert">{message}</p>
<form method="post"><label>Name <input name="user" autocomplete="username" required value="admin">
</label><label>Password <input name="password" type="password" autocomplete="current-password"
required autofocus></label><button>Sign in</button></form></main></html>"""


SIGN_OUT = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Pixelmill: sign out</title>
<link rel="stylesheet" href="/static/login.css">
<main><h1>Pixelmill</h1><form method="post"><button>Sign out</button></form></main></html>"""


@router.get("/login")
async def form() -> Response:
    """The sign-in form."""
    return HTMLResponse(PAGE.format(message=""))


@router.post("/login")
async def sign_in(
    request: Request, user: Annotated[str, Form()], password: Annotated[str, Form()]
) -> Response:
    """Check the password; if it is right, set the cookie and redirect to the page."""
    if not await _is_right(request, user, password):
        return HTMLResponse(PAGE.format(message="Name or password is wrong."), 401)
    return RedirectResponse("/ui/", 303, {"set-cookie": set_cookie(user)})


@router.post(LOGIN)
async def sign_program_in(
    request: Request, username: Annotated[str, Form()], password: Annotated[str, Form()]
) -> Response:
    """What `gradio_client` sends for `auth=(name, password)`: the answer has the cookie."""
    if not await _is_right(request, username, password):
        raise NotSignedIn("name or password is wrong")
    return json_response({"success": True}, headers={"set-cookie": set_cookie(username)})


@router.get("/logout")
async def ask() -> Response:
    """A form with a button: a link on another site cannot sign anybody out."""
    return HTMLResponse(SIGN_OUT)


@router.post("/logout")
async def sign_out() -> Response:
    """Delete the cookie and redirect to the sign-in form."""
    expired = f"{cookie_name()}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
    return RedirectResponse("/login", 303, {"set-cookie": expired})


async def _is_right(request: Request, user: str, password: str) -> bool:
    is_valid = matches(USER, user) and is_text(password, MAX_PASSWORD)
    # Checked even if it is invalid, so that the answer takes equally long.
    name, word = (user, password) if is_valid else (None, "")
    return await accounts_of(request).is_password(name, word) and is_valid
