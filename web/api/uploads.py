"""Uploads: signed addresses to PUT files to."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from web import rate_limit
from web.api import schemas
from web.api.routing import ParsedRoute
from web.errors import json_response
from web.jobs.quotas import Allowance
from web.jobs.service import service_of
from web.jobs.uploads import FileToSend, SignedUpload
from web.middleware.hosts import origin_of
from web.middleware.identity import identity_of
from web.payer import payer_of

router = APIRouter(prefix=schemas.PREFIX, tags=schemas.TAGS, route_class=ParsedRoute)

_ANSWERS: dict[int | str, dict[str, Any]] = {
    **schemas.FAILURES,
    200: {
        "model": schemas.UploadAnswer,
        "description": "Where to send the bytes.",
        **rate_limit.LIMITED,
    },
    429: {**schemas.FAILURES[429], **rate_limit.LIMITED},
}


@router.post("/uploads", responses=_ANSWERS)
async def create_upload(request: Request, body: schemas.UploadRequest) -> Response:
    """Get a signed address to PUT a file to; then name its id in POST /jobs."""
    upload, allowances = await sign(request, file_to_send(body, body.size))
    return json_response({"upload": upload}, 200, rate_limit.headers(allowances))


async def sign(request: Request, file: FileToSend) -> tuple[SignedUpload, Sequence[Allowance]]:
    """A new upload of the request's user, with an address under the origin that the client uses,
    and what is left of the quotas."""
    identity = identity_of(request)
    return await service_of(request).uploads.sign(
        identity.user, payer_of(identity), file, origin_of(request)
    )


def file_to_send(body: schemas.UploadRequest | schemas.JobRequest, size: int) -> FileToSend:
    """The file that a request announces."""
    return FileToSend(size, body.type, body.sha256, body.variant)
