"""Predict: one request with the image as its body, answered by its job."""

import asyncio
import hashlib
from contextlib import AbstractAsyncContextManager
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.datastructures import QueryParams
from starlette.responses import Response

from storage.jobs.snapshots import Snapshot
from tasks.errors import BadInput
from tasks.imaging import guard
from tasks.message import Priority
from tasks.models.base import RESERVED
from tasks.settings import settings
from web.api import responses, schemas
from web.api.body import body_of
from web.fetching.fetch import fetched
from web.jobs.service import service_of
from web.jobs.submission import DEFAULT_OUTPUT, LONGEST_DEADLINE_S, Photo, Submission
from web.jobs.uploads import MEDIA_TYPES

router = APIRouter(prefix=schemas.PREFIX, tags=schemas.TAGS)

BINARY = {"requestBody": {"required": True, "content": {
    kind: {"schema": {"type": "string", "format": "binary"}}
    for kind in MEDIA_TYPES
}}}  # fmt: skip
BIG = 256 * 1024
"""Bodies above this many bytes are hashed in a thread."""


@router.post("/predict/{model}", responses=schemas.JOB, openapi_extra=BINARY)
async def predict(
    request: Request,
    model: str,
    wait: schemas.Wait = 30,
    priority: Priority = "interactive",
    output: Annotated[
        str, Query(max_length=200, description="Comma-separated names of what to make.")
    ] = "",
    keep: Annotated[bool, Query(description=schemas.KEEP.description)] = True,
    deadline_s: Annotated[
        float | None,
        Query(
            gt=0,
            le=LONGEST_DEADLINE_S,
            allow_inf_nan=False,
            description=schemas.DEADLINE.description,
        ),
    ] = None,
    url: Annotated[
        str,
        Query(description="Address of the image, instead of a body; only where the server allows."),
    ] = "",
    idempotency_key: schemas.IdempotencyKey = "",
) -> Response:
    """Send an image as the body, get its job. Each other query parameter is one of the model's."""
    snapshot = await _submitted(
        request, model, priority, output, keep, deadline_s, url, idempotency_key
    )
    return await responses.answer(request, snapshot, wait)


def _image(request: Request, url: str) -> AbstractAsyncContextManager[bytes]:
    """The bytes of the image that the request brings or names."""
    if not url:
        return body_of(request)
    if int(request.headers.get("content-length") or 0) or "transfer-encoding" in request.headers:
        raise BadInput("send the image or name its `url`, not both", code="bad_request")
    return fetched(request.scope, url)


async def _submitted(
    request: Request,
    model: str,
    priority: Priority,
    output: str,
    keep: bool,
    deadline_s: float | None,
    url: str,
    idempotency_key: str,
) -> Snapshot:
    """The job of the image. Its bytes are released before anybody waits for the job."""
    async with _image(request, url) as data:
        header = guard.check(data, settings().guard_limits)
        sha256 = await _sha256(data)
        photo = Photo(
            f"{sha256}:original", len(data), data=data, media_type=header.media_type,
            body_sha256=sha256,
        )  # fmt: skip
        outputs = tuple(output.split(",")) if output else DEFAULT_OUTPUT
        submission = Submission(
            request.state.user, model, photo, _params(request.query_params), outputs, priority,
            keep, deadline_s, idempotency_key,
        )  # fmt: skip
        return await service_of(request).submit(submission)


def _params(query: QueryParams) -> dict[str, str]:
    return {name: value for name, value in query.items() if name not in RESERVED}


async def _sha256(data: bytes) -> str:
    if len(data) < BIG:
        return hashlib.sha256(data).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
