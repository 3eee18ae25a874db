"""The last part of one's account: how long one's data are kept, and how to take or delete them."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from web.api.me_data import erase
from web.jobs.retention import kept_sentence
from web.middleware.identity import identity_of
from web.page.account_frame import framed

router = APIRouter(prefix="/account/data", include_in_schema=False)

PART = "/account/data"
WAIT_S = 60.0
PAGE = """<h2>What is kept</h2><p>{kept}</p>
<p><a class="button quiet" href="/api/v1/me/export" download>Download my data</a></p>
<h2>Delete my data</h2>
<p>All your photos, results, links and API keys on this server. This cannot be undone.</p>
<details><summary>Delete my data</summary><form method="post" action="/account/data/erase">
<button class="bad">Delete everything now</button></form></details>"""
ERASED = '<p role="status">Nothing of yours is left here.</p>'
ERASING = '<p role="status">Your data are being deleted. That goes on if you leave this page.</p>'


@router.get("")
async def show(request: Request) -> Response:
    """The page."""
    return framed(identity_of(request), PART, PAGE.format(kept=kept_sentence()))


@router.post("/erase")
async def erase_all(request: Request) -> Response:
    """Erase all data of this user; a visitor is somebody new then."""
    is_erased, headers = await erase(request, WAIT_S)
    headers["clear-site-data"] = '"cache", "storage"'
    return framed(identity_of(request), PART, ERASED if is_erased else ERASING, headers=headers)
