"""What you have here as a whole: erase it."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from web.api import me_schemas, schemas
from web.audit import audit_of
from web.errors import json_response
from web.jobs.service import service_of
from web.middleware.cookies import end_cookie
from web.middleware.identity import identity_of

router = APIRouter(prefix=schemas.PREFIX, tags=schemas.TAGS)


@router.delete(
    "/me/data",
    responses={
        200: {"model": me_schemas.Erasure, "description": "Nothing of yours is left."},
        202: {"model": me_schemas.Erasure, "description": "It is being erased."},
        **schemas.FAILURES,
    },
)
async def erase_data(request: Request, wait: schemas.Wait = 0) -> Response:
    """Erase all that you have here: jobs, uploads, results, links, history and API keys.

    Jobs that are in progress are cancelled. It takes some seconds, and goes on if you do not wait;
    what you send meanwhile is erased too. An account itself stays. A visitor without one becomes
    a new visitor.
    """
    is_erased, headers = await erase(request, wait)
    body = {"state": "erased" if is_erased else "erasing"}
    return json_response(body, 200 if is_erased else 202, headers)


async def erase(request: Request, wait_s: float) -> tuple[bool, dict[str, str]]:
    """Have all data of the request's user erased: whether they are after `wait_s`, and the headers
    of the answer."""
    identity, erasures = identity_of(request), service_of(request).erasures
    is_visitor = identity.kind == "browser"
    await audit_of(request).record("data.erase", identity, identity.user)
    await erasures.request(identity.user, with_account=is_visitor)
    is_erased = await erasures.wait(identity.user, wait_s)
    return is_erased, {"set-cookie": end_cookie()} if is_visitor else {}
