"""Sign-in with a name and a password: a form, and the cookie that follows."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from storage import users
from web.api.routes import pipeline_of
from web.middleware.identity import cookie_name, set_cookie
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
    """The form."""
    return HTMLResponse(PAGE.format(message=""))


@router.post("/login")
async def sign_in(
    request: Request, user: Annotated[str, Form()], password: Annotated[str, Form()]
) -> Response:
    """Check the password; on success set the cookie and go to the page."""
    is_sound = matches(USER, user) and is_text(password, MAX_PASSWORD)
    stored = await pipeline_of(request).state.do(users.password_hash(user)) if is_sound else None
    # Tried all the same, so that it takes as long.
    is_right = await asyncio.to_thread(users.is_password, stored, password if is_sound else "")
    if not (is_sound and is_right):
        return HTMLResponse(PAGE.format(message="Name or password is wrong."), 401)
    return RedirectResponse("/ui/", 303, {"set-cookie": set_cookie(user)})


@router.get("/logout")
async def ask() -> Response:
    """A button: a link alone, which another page may hold, signs nobody out."""
    return HTMLResponse(SIGN_OUT)


@router.post("/logout")
async def sign_out() -> Response:
    """Forget who was signed in."""
    gone = f"{cookie_name()}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
    return RedirectResponse("/login", 303, {"set-cookie": gone})
