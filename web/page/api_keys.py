"""The page of one's API keys: makes them, shows a new one once, lists and revokes them."""

import time
from collections.abc import Sequence
from html import escape
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from storage.times import day
from tasks.errors import BadInput
from web.api.me_schemas import MAX_NAME
from web.api_keys import DEFAULT_SCOPES, MOST_KEYS, SCOPES, ApiKey, api_keys_of, expiry_ms, ordered
from web.middleware.identity import identity_of
from web.middleware.scopes import check
from web.middleware.validation import KEY_ID, is_text, matches
from web.page.account_frame import framed
from web.page.html import alert, sentence

router = APIRouter(prefix="/account/keys", include_in_schema=False)

DAYS = (30, 90, 365)
MEANING = {
    "read": "see jobs, results and limits",
    "run": "hand in, cancel and delete work",
    "admin": "manage this account, its keys and its data",
}
PART = "/account/keys"
PAGE = """{message}
<h2>Make a key</h2><p>A program that sends it acts as you.</p>
<form method="post" action="/account/keys/add">
<label>Name of the key <input name="name" maxlength="64" placeholder="what it is for"></label>
<fieldset><legend>A program with it may</legend>{scopes}</fieldset>
<label>It ends <select name="days">{days}</select></label><button>Make a key</button></form>
<h2>Your keys</h2>{keys}"""
MADE = """<div role="status"><p>Copy the new key now: it is not shown again.</p>
<p><code>{secret}</code></p></div>"""
KEY = """<li><strong>{name}</strong> <code>{prefix}</code><br>{scopes}; made {created},
{used}{ends}<form method="post" action="/account/keys/revoke"><input type="hidden" name="id"
value="{id}"><button class="quiet" aria-label="Revoke {name}">Revoke</button></form></li>"""


@router.get("")
async def show(request: Request) -> Response:
    """The page."""
    return await _page(request, "")


@router.post("/add")
async def add(
    request: Request,
    name: Annotated[str, Form()] = "",
    days: Annotated[str, Form()] = "",
    scope: Annotated[Sequence[str], Form()] = (),
) -> Response:
    """Make a key, and show it: this once."""
    identity = identity_of(request)
    try:
        _check(name, days, scope)
    except BadInput as error:
        return await _page(request, alert(sentence(error)), error.status)
    for wanted in ordered(scope):
        check(wanted, identity.scopes)
    expires_ms = expiry_ms(int(days or 0))
    made = await api_keys_of(request).add(identity, name=name, scopes=scope, expires_ms=expires_ms)
    if made is None:
        message = f"You have {MOST_KEYS} keys already: revoke some that are not in use."
        return await _page(request, alert(message), 409)
    return await _page(request, MADE.format(secret=escape(made[0])))


@router.post("/revoke")
async def revoke(request: Request, id: Annotated[str, Form()]) -> Response:
    """End a key."""
    if not matches(KEY_ID, id) or not await api_keys_of(request).revoke(identity_of(request), id):
        return await _page(request, alert("You have no such key."), 404)
    return RedirectResponse("/account/keys", 303)


def _check(name: str, days: str, scopes: Sequence[str]) -> None:
    """Raises BadInput for what the form itself does not send."""
    if not is_text(name, MAX_NAME) or any(mark in name for mark in "\r\n\t"):
        raise BadInput(f"a name has at most {MAX_NAME} characters, on one line")
    if not scopes or any(scope not in SCOPES for scope in scopes):
        raise BadInput("choose what a program with the key may do")
    if days and days not in map(str, DAYS):
        raise BadInput("choose one of the times after which the key ends")


async def _page(request: Request, message: str, status: int = 200) -> Response:
    """`message` is HTML."""
    identity = identity_of(request)
    keys = await api_keys_of(request).of_user(identity.user)
    rows = "".join(map(_row, keys))
    body = PAGE.format(
        message=message,
        scopes="".join(map(_choice, ("read", "run", "admin"))),
        days="".join(map(_days, (*DAYS, None))),
        keys=f"<ul>{rows}</ul>" if keys else "<p>You have none.</p>",
    )
    return framed(identity, PART, body, status)


def _choice(scope: str) -> str:
    checked = " checked" if scope in DEFAULT_SCOPES else ""
    box = f'<input type="checkbox" name="scope" value="{scope}"{checked}>'
    return f'<label class="choice">{box} <span>{MEANING[scope]}</span></label>'


def _days(days: int | None) -> str:
    if days is None:
        return '<option value="">when it is revoked</option>'
    selected = " selected" if days == DAYS[1] else ""
    return f'<option value="{days}"{selected}>in {days} days</option>'


def _row(key: ApiKey) -> str:
    has_ended = key.has_expired(time.time() * 1000)
    ends = f", {'ended' if has_ended else 'ends'} {day(key.expires_ms)}" if key.expires_ms else ""
    return KEY.format(
        id=escape(key.id),
        name=escape(key.name or "without a name"),
        prefix=escape(f"{key.prefix}…") if key.prefix else "",
        scopes="may " + ", ".join(MEANING[scope] for scope in ordered(key.scopes)),
        created=day(key.created_ms),
        used=f"last used {day(key.used_ms)}" if key.used_ms else "never used",
        ends=ends,
    )
