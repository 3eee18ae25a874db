"""Sign-in with a name and a password: a form, and the cookie that follows."""

import asyncio
from html import escape
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from storage import users
from web.api import pipeline_of
from web.identity import cookie_name, set_cookie

router = APIRouter(include_in_schema=False)

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Pixelmill: sign in</title>
<link rel="stylesheet" href="/static/login.css">
<main><h1>Pixelmill</h1><p role="alert">{message}</p>
<form method="post"><label>Name <input name="user" autocomplete="username" required value="admin">
</label><label>Password <input name="password" type="password" autocomplete="current-password"
required autofocus></label><button>Sign in</button></form></main></html>"""


@router.get("/login")
async def form() -> Response:
    """The form."""
    return HTMLResponse(PAGE.format(message=""))


@router.post("/login")
async def sign_in(
    request: Request, user: Annotated[str, Form()], password: Annotated[str, Form()]
) -> Response:
    """Check the password; on success set the cookie and go to the page."""
    if not _is_own(request):
        return HTMLResponse(PAGE.format(message="Sign in from the page itself."), 403)
    stored = await pipeline_of(request).state.do(users.password_hash(user))
    if not await asyncio.to_thread(users.is_password, stored, password):
        message = f"Name or password of {escape(user)} is wrong."
        return HTMLResponse(PAGE.format(message=message), 401)
    return RedirectResponse("/ui/", 303, {"set-cookie": set_cookie(user)})


@router.get("/logout")
async def sign_out() -> Response:
    """Forget who was signed in."""
    gone = f"{cookie_name()}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
    return RedirectResponse("/login", 303, {"set-cookie": gone})


def _is_own(request: Request) -> bool:
    """Whether the form was sent from a page of this site (or by a program without Origin)."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
