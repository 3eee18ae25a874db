"""Predict: one request with the image as its body, answered by its job, or by a picture of it."""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.responses import Response

from storage.jobs.snapshots import Snapshot
from tasks.errors import BadInput
from tasks.imaging import guard
from tasks.imaging.volumes import kinds
from tasks.settings import settings
from web import rate_limit
from web.api import accept, documents, hints, options, pictures, responses, schemas
from web.api.body import body_of, kind_of
from web.api.options import Options
from web.api.received import Received
from web.api.routing import ParsedRoute
from web.fair_share import share_of
from web.fetching.fetch import fetched
from web.jobs.service import service_of
from web.jobs.submission import Photo, Submission, name_of_photo
from web.middleware.identity import identity_of
from web.middleware.validation import HEAD
from web.payer import payer_of

router = APIRouter(prefix=schemas.PREFIX, tags=schemas.TAGS, route_class=ParsedRoute)

VARY = {"vary": "Accept"}
BIG = 256 * 1024
"""Bodies above this many bytes are hashed in a thread."""


class Submitted(NamedTuple):
    """A job, and what its request said that matters to the answer."""

    snapshot: Snapshot
    options: Options
    filename: str


@router.put(
    "/predict/{model}/{filename}", responses=documents.ANSWERS, openapi_extra=documents.NAMED_FILE
)
@router.put("/predict/{model}", responses=documents.ANSWERS, openapi_extra=documents.BODY)
@router.post("/predict/{model}", responses=documents.ANSWERS, openapi_extra=documents.BODY)
async def predict(request: Request, model: schemas.ModelName) -> Response:
    """Send an image, get its job; with `Accept: image/png` and the like, get the picture itself.

    Each other query parameter is one of the model's. A form or JSON may hold all of them as fields.
    """
    wish = accept.wish_of(request.scope[HEAD].get(b"accept", b""))
    submitted = await _submitted(request, model, wish)
    limits = rate_limit.headers(submitted.snapshot.allowances)
    snapshot = await service_of(request).watcher.wait(submitted.snapshot, submitted.options.wait)
    if wish and snapshot.state == "done":
        name = submitted.options.outputs[0]
        return await pictures.answer(request, snapshot, wish, name, submitted.filename, limits)
    body = await responses.body(request, snapshot)
    return responses.job_response(body, snapshot, {**VARY, **limits})


async def _submitted(request: Request, model: str, wish: accept.Wish | None) -> Submitted:
    """The job of the image. Its bytes are released before anybody waits for the job."""
    query, key = request.query_params, request.scope[HEAD].get(b"idempotency-key", b"")
    asked, params = options.of_query(query, key.decode("ascii"))
    if asked.url:
        _check_no_body(request)
        return await _submitted_by_url(request, model, asked, params, wish)
    try:
        async with body_of(request) as received:
            if received.fields:
                asked, params = options.merged(asked, query, received.fields)
            if not asked.url:
                return await _submit(request, model, asked, params, received, wish)
            if received.picture:
                raise _photo_and_url()
    except BadInput as error:
        if error.code == "too_large" and await _takes_volumes(request, model):
            raise hints.of_large_volume(error) from None
        raise
    return await _submitted_by_url(request, model, asked, params, wish)


async def _submitted_by_url(
    request: Request,
    model: str,
    asked: Options,
    params: Mapping[str, Any],
    wish: accept.Wish | None,
) -> Submitted:
    async with fetched(request.scope, asked.url) as data:
        received = Received(data, filename=urlsplit(asked.url).path.rpartition("/")[2])
        return await _submit(request, model, asked, params, received, wish)


async def _submit(
    request: Request,
    model: str,
    asked: Options,
    params: Mapping[str, Any],
    received: Received,
    wish: accept.Wish | None,
) -> Submitted:
    if wish:
        card = await service_of(request).catalogue.card(model)
        asked, params = pictures.for_picture(wish, card, asked, params)
    photo = await _photo(request, model, received)
    identity, filename = identity_of(request), received.filename or _name_in_path(request)
    submission = Submission(
        identity.user, model, photo, params, asked.outputs, asked.priority,
        asked.keep, asked.deadline_s, asked.idempotency_key, share_of(identity),
        payer_of(identity), name_of_photo(filename), asked.lighter,
    )  # fmt: skip
    snapshot = await service_of(request).submit(submission)
    return Submitted(snapshot, asked, filename)


def _check_no_body(request: Request) -> None:
    head = request.scope[HEAD]
    if int(head.get(b"content-length", 0)) or b"transfer-encoding" in head:
        raise _photo_and_url()


def _photo_and_url() -> BadInput:
    return BadInput("send the image or name its `url`, not both", code="bad_request")


async def _photo(request: Request, model: str, received: Received) -> Photo:
    """The picture, if its header is one of a picture that is accepted, or the volume."""
    data, kind = received.picture, kind_of(request.scope[HEAD].get(b"content-type", b""))
    hints.check_whole(data, kind)
    try:
        media_type = guard.check(data, settings().guard_limits).media_type
    except BadInput as error:
        media_type = kinds.media_type(data) if await _takes_volumes(request, model) else ""
        if not media_type:
            raise hints.explained(error, data, kind) from None
    sha256 = await _sha256(data)
    return Photo(
        f"{sha256}:original", len(data), data=data, media_type=media_type, body_sha256=sha256
    )


async def _takes_volumes(request: Request, model: str) -> bool:
    card = await service_of(request).catalogue.card(model)
    return card.get("input") == "volume"


def _name_in_path(request: Request) -> str:
    """The file's name that `curl -T` has appended to the path."""
    return str(request.path_params.get("filename", ""))


async def _sha256(data: bytes) -> str:
    if len(data) < BIG:
        return hashlib.sha256(data).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
