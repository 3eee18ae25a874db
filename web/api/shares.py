"""Links to single pictures: make, list, revoke, and what whoever has one sees."""

from typing import Any, TypedDict, cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from storage.times import rfc3339
from tasks.errors import BadInput
from tasks.settings import settings
from web.api import schemas, share_schemas
from web.api.jobs import checked_id
from web.api.pictures import Proxy
from web.api.routing import ParsedRoute
from web.audit import audit_of
from web.errors import json_response
from web.jobs.service import service_of
from web.jobs.shares import Share, no_link, token_of
from web.middleware.hosts import own_origin
from web.middleware.identity import identity_of
from web.middleware.validation import OBJECT_ID, matches
from web.text import shown

PATH = "/s"
"""What links begin with: short, and outside of the API, so that no key or cookie is asked for."""
_PICTURES: dict[str, Any] = {
    kind: {} for kind in ("image/png", "image/webp", "image/avif", "image/jpeg")
}

router = APIRouter(tags=schemas.TAGS, route_class=ParsedRoute)


class ShareBody(TypedDict):
    """share_schemas.Share."""

    id: str
    job: str
    object: str
    url: str
    created: str
    expires: str


@router.post(
    f"{schemas.PREFIX}/jobs/{{job_id}}/shares",
    status_code=201,
    response_model=share_schemas.Share,
    responses={**schemas.FAILURES, 403: share_schemas.OFF, 409: share_schemas.TOO_MANY},
)
async def create_share(request: Request, job_id: str, body: share_schemas.ShareRequest) -> Response:
    """Make a link that shows one picture of a job to whoever has the link, and nothing else."""
    service = service_of(request)
    job = await service.get(identity_of(request).user, checked_id(job_id))
    share = await service.shares.add(job, body.object, body.expires_s)
    await audit_of(request).record("share.add", identity_of(request), share.id)
    return json_response(_body(share, own_origin(request)), 201)


@router.get(
    f"{schemas.PREFIX}/shares", responses={200: {"model": share_schemas.Shares}, **schemas.FAILURES}
)
async def list_shares(request: Request) -> Response:
    """Your links that still work, the last to expire first."""
    origin = own_origin(request)
    shares = await service_of(request).shares.of_user(identity_of(request).user)
    return json_response({"shares": [_body(share, origin) for share in shares]})


@router.delete(f"{schemas.PREFIX}/shares/{{share_id}}", status_code=204, responses=schemas.FAILURES)
async def revoke_share(request: Request, share_id: str) -> Response:
    """End a link at once."""
    if not matches(OBJECT_ID, share_id):
        raise BadInput(f"no link {shown(share_id)}", code="no_share", status=404)
    identity = identity_of(request)
    await service_of(request).shares.revoke(identity.user, share_id)
    await audit_of(request).record("share.revoke", identity, share_id)
    return Response(status_code=204)


@router.get(
    f"{PATH}/{{token}}",
    response_class=Response,
    responses={
        200: {"content": _PICTURES, "description": "The picture."},
        404: schemas.FAILURES[404],
        429: schemas.FAILURES[429],
        503: schemas.FAILURES[503],
    },
)
async def follow_share(request: Request, token: str) -> Response:
    """The picture that a link shows. Needs neither key nor cookie."""
    service = service_of(request)
    share = await service.shares.follow(token)
    url = service.results.address(share.key, settings().s3_url.rstrip("/"), share.type)
    proxy = cast(Proxy, request.app.state.s3_proxy)
    try:
        return await proxy.picture(request, url, _headers(share))
    except BadInput:  # the result was removed
        raise no_link() from None


def _headers(share: Share) -> dict[str, str]:
    return {
        "content-type": share.type,
        "content-disposition": f'inline; filename="{_file_name(share)}"',
        "cache-control": "private, no-cache",  # a revoked link shows nothing
        "x-robots-tag": "noindex",
    }


def _file_name(share: Share) -> str:
    """By what it is; nothing of whose it is."""
    return f"{share.object}.{share.type.partition('/')[2]}"


def _body(share: Share, origin: str) -> ShareBody:
    return {
        "id": share.id,
        "job": share.job,
        "object": share.object,
        "url": f"{origin}{PATH}/{token_of(share.id)}",
        "created": rfc3339(share.created_ms, "seconds"),
        "expires": rfc3339(share.expires_ms, "seconds"),
    }
