"""The API under /api/v1: what programs and the page's JavaScript ask for."""

import asyncio
import hashlib
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, cast

import orjson
from fastapi import APIRouter, Header, Query, Request
from starlette.datastructures import QueryParams
from starlette.responses import Response

from storage import keys
from storage import uploads as stored_uploads
from storage.jobs.snapshots import Snapshot
from storage.s3.objects import PRESIGN_S
from storage.states import ENDED
from tasks.errors import BadInput, JobError
from tasks.imaging import guard
from tasks.message import Priority
from tasks.models.base import RESERVED
from tasks.settings import MIB, settings
from web.api import responses, schemas
from web.api.body import body_of
from web.errors import error_body, json_response
from web.jobs.service import (
    DEFAULT_OUTPUT,
    LONGEST_DEADLINE_S,
    Photo,
    Pipeline,
    UploadNeeded,
    no_job,
)
from web.jobs.service import Request as Asked
from web.live import feed, sse
from web.middleware.hosts import origin_of
from web.middleware.validation import EVENT_ID, OBJECT_ID, matches
from web.text import shown

api = APIRouter(prefix="/api/v1", tags=["pixelmill"])

FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Failure, "description": why}
    for status, why in {
        401: "Not signed in (only where open mode is off).",
        404: "No such model, upload or job, or not yours.",
        413: "The file is too large.",
        415: "Not an image type that is accepted.",
        422: "The image or a parameter is wrong.",
        429: "Too much is waiting; Retry-After says when to come back.",
        503: "No worker, or storage does not answer; Retry-After says when to come back.",
    }.items()
}
JOB: dict[int | str, dict[str, Any]] = {
    200: {"model": schemas.Job, "description": "Ended."},
    202: {"model": schemas.Job, "description": "Under way."},
    **FAILURES,
}
BINARY = {"requestBody": {"required": True, "content": {
    kind: {"schema": {"type": "string", "format": "binary"}}
    for kind in schemas.MEDIA_TYPES
}}}  # fmt: skip
BIG = 256 * 1024
"""Bodies above this are hashed in a thread."""

OPEN_UPLOAD_S = 4 * PRESIGN_S
"""How long an upload is known whose bytes nobody has named yet: anybody may ask for addresses, and
each has a record in the state Redis."""
MOST_NAMED = 100
"""Jobs that a stream of events may name."""

Idempotency = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        description="Sent again within a day with the same request, it answers the same job.",
    ),
]
Wait = Annotated[
    float, Query(ge=0, le=300, allow_inf_nan=False, description="Seconds to wait for the end.")
]


@api.post("/predict/{model}", responses=JOB, openapi_extra=BINARY)
async def predict(
    request: Request,
    model: str,
    wait: Wait = 30,
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
    idempotency_key: Idempotency = "",
) -> Response:
    """Send an image as the body, get its job; every other query parameter is the model's."""
    view = await _submitted(request, model, priority, output, keep, deadline_s, idempotency_key)
    return await _answer(request, view, wait)


@api.post("/uploads", responses=FAILURES, response_model=schemas.UploadAnswer)
async def uploads(request: Request, asked: schemas.UploadRequest) -> Response:
    """Get a signed address to PUT a file to; then name its id in POST /jobs."""
    return json_response({"upload": await _place(request, asked, asked.size)})


@api.post(
    "/jobs",
    responses={
        **JOB,
        200: {"model": schemas.Job | list[schemas.Job]},
        202: {"model": schemas.Job | list[schemas.Job]},
        409: {"model": schemas.UploadNeeded, "description": "Send the bytes first."},
    },
)
async def jobs(
    request: Request,
    asked: schemas.JobRequest,
    wait: Wait = 0,
    idempotency_key: Idempotency = "",
) -> Response:
    """Ask for work on an upload, or on a file that may be known already."""
    named = [name for name in (asked.upload, asked.uploads, asked.sha256) if name]
    if len(named) != 1:
        raise BadInput("name the image by one of: upload, uploads, sha256", code="bad_request")
    if asked.uploads:
        return await _several(request, asked, wait, idempotency_key)
    try:
        view = await (_by_upload if asked.upload else _by_hash)(request, asked, idempotency_key)
    except UploadNeeded as error:
        return json_response(await _needed(request, asked, error), error.status)
    return await _answer(request, view, wait)


@api.get("/jobs/{job_id}", responses={200: {"model": schemas.Job}, **FAILURES})
async def job(request: Request, job_id: str) -> Response:
    """How a job of one's own is going. Always 200, whatever came of it."""
    view = await pipeline_of(request).view(request.state.user, _checked(job_id))
    return json_response(await _body(request, view))


@api.post("/jobs/{job_id}/cancel", responses={200: {"model": schemas.Job}, **FAILURES})
async def cancel(request: Request, job_id: str) -> Response:
    """Do without a job: `cancelling` until a worker that is at it confirms, else `cancelled`.

    Work that other jobs wait for goes on. A job that has ended stays as it is.
    """
    view = await pipeline_of(request).cancel(request.state.user, _checked(job_id))
    return json_response(await _body(request, view))


@api.delete("/jobs/{job_id}", status_code=204, responses=FAILURES)
async def delete(request: Request, job_id: str) -> Response:
    """Cancel a job if need be and remove it, its result and its upload.

    What other jobs of the same user share with it stays.
    """
    await pipeline_of(request).delete(request.state.user, _checked(job_id))
    return Response(status_code=204)


@api.get("/jobs/{job_id}/events", responses=FAILURES)
async def job_events(request: Request, job_id: str) -> Response:
    """The job's changes as server-sent events: `id` grows, `data` is the job; ends with it."""
    pipeline = pipeline_of(request)
    view = await pipeline.view(request.state.user, _checked(job_id))
    describe = await _teller(request)
    seen = int(_last_event_id(request) or 0)
    changes = pipeline.watch(view)
    return sse.EventStream(b"", sse.of_job(changes, describe, seen))


@api.get("/events", responses=FAILURES)
async def all_events(
    request: Request,
    jobs: Annotated[
        str, Query(description="Comma-separated ids of ended jobs to be told of.")
    ] = "",
) -> Response:
    """All one's jobs as one stream of server-sent events: `data` is a job.

    First those that are under way and those that are named, then every change of them and of those
    that come. `event: gone` names a job that does not exist. `id` is a time: what ended after that
    of `Last-Event-ID` is told again.
    """
    named = [name for name in jobs.split(",") if name]
    if len(named) > MOST_NAMED:
        raise BadInput(f"{len(named)} jobs are named; the limit is {MOST_NAMED}")
    if odd := [name for name in named if not matches(OBJECT_ID, name)]:
        raise BadInput(f"{shown(odd[0])} is no id of a job", code="bad_request")
    describe = await _teller(request)
    news = pipeline_of(request).follow(
        request.state.user, named, _last_event_id(request) or feed.NEVER
    )
    told = sse.OfUser(news, describe)
    first = await anext(told)  # so that a Redis that is away is a 503, no stream that breaks
    return sse.EventStream(first, told)


@api.get("/models", responses={200: {"model": schemas.Models}, **FAILURES})
async def models(request: Request) -> Response:
    """What live workers can do."""
    return json_response({"models": responses.models(await pipeline_of(request).catalogue())})


def pipeline_of(request: Request) -> Pipeline:
    """The web process's pipeline."""
    return cast(Pipeline, request.app.state.pipeline)


def _checked(job_id: str) -> str:
    """The id, if it has the form of one; else the answer that a missing job gets."""
    if not matches(OBJECT_ID, job_id):
        raise no_job(job_id)
    return job_id


async def _several(
    request: Request, asked: schemas.JobRequest, wait: float, idempotency_key: str
) -> Response:
    pipeline = pipeline_of(request)
    # All are looked at before any is asked for: one that is missing leaves no half of the work.
    photos = [await _uploaded(request, upload_id) for upload_id in asked.uploads or []]
    # Side by side, so that their runs are claimed together and share messages.
    submitted = (
        pipeline.submit(
            _asked(request, asked, photo, idempotency_key and f"{idempotency_key} {number}")
        )
        for number, photo in enumerate(photos)
    )
    views = await asyncio.gather(*submitted)
    views = list(await asyncio.gather(*(pipeline.wait(view, wait) for view in views)))
    bodies = [await _body(request, view) for view in views]
    under_way = any(body["state"] not in ENDED for body in bodies)
    return json_response(bodies, 202 if under_way else 200)


async def _submitted(
    request: Request,
    model: str,
    priority: Priority,
    output: str,
    keep: bool,
    deadline_s: float | None,
    idempotency_key: str,
) -> Snapshot:
    """The job of the image in the body. Nothing holds on to the bytes once this returns."""
    async with body_of(request) as data:
        header = guard.check(data, settings().guard_limits)
        sha256 = await _sha256(data)
        photo = Photo(
            f"{sha256}:original", len(data), data=data, media_type=header.media_type,
            body_sha256=sha256,
        )  # fmt: skip
        params = _params(request.query_params)
        wanted = tuple(output.split(",")) if output else DEFAULT_OUTPUT
        asked = Asked(
            request.state.user, model, photo, params, wanted, priority, keep, deadline_s,
            idempotency_key,
        )  # fmt: skip
        return await pipeline_of(request).submit(asked)


def _asked(
    request: Request, asked: schemas.JobRequest, photo: Photo, idempotency_key: str
) -> Asked:
    return Asked(
        request.state.user, asked.model, photo, asked.params, asked.output or DEFAULT_OUTPUT,
        asked.priority, asked.keep, asked.deadline_s, idempotency_key,
    )  # fmt: skip


async def _uploaded(request: Request, upload_id: str) -> Photo:
    """An upload of this user whose bytes are there; looked at once, then remembered."""
    pipeline, user = pipeline_of(request), request.state.user
    record = await pipeline.upload(user, upload_id) if matches(OBJECT_ID, upload_id) else None
    if not record:
        raise BadInput(f"no upload {shown(upload_id)}", code="no_upload", status=404)
    identity = f"{record['sha256']}:{record['variant']}" if record.get("sha256") else upload_id
    # Only an unchanged original can be held to the hash that was declared for it.
    declared = record.get("sha256", "") if record.get("variant") == "original" else ""
    photo = Photo(
        identity, int(record["size"]), upload_id, media_type=record["type"],
        body_sha256=declared, etag=record.get("etag", ""),
    )  # fmt: skip
    return photo if record["state"] == "there" else await _confirmed(pipeline, user, photo)


async def _confirmed(pipeline: Pipeline, user: str, photo: Photo) -> Photo:
    key = keys.upload_object(user, photo.upload)
    try:
        stat = await pipeline.remote.do(lambda s3: s3.stat(key))
    except FileNotFoundError as error:
        raise BadInput(
            "the bytes of this upload have not arrived",
            code="not_uploaded",
            status=409,
            hint="PUT them to the upload's address first.",
        ) from error
    _check_size(stat.size)
    there = Photo(
        photo.identity, stat.size, photo.upload, media_type=photo.media_type,
        body_sha256=photo.body_sha256, etag=stat.etag,
    )  # fmt: skip
    await pipeline.remember_upload(user, photo.upload, there, stat.etag)
    return there


async def _by_upload(request: Request, asked: schemas.JobRequest, idempotency_key: str) -> Snapshot:
    photo = await _uploaded(request, str(asked.upload))
    return await pipeline_of(request).submit(_asked(request, asked, photo, idempotency_key))


async def _by_hash(request: Request, asked: schemas.JobRequest, idempotency_key: str) -> Snapshot:
    """A file by its hash: its result if there is one, else work on the bytes if they are there."""
    pipeline, sha256, variant = pipeline_of(request), str(asked.sha256), asked.variant
    claimed = Photo(f"{sha256}:{variant}", asked.size or 0)
    try:
        return await pipeline.submit(_asked(request, asked, claimed, idempotency_key))
    except UploadNeeded:
        call = stored_uploads.find(request.state.user, sha256, variant)
        upload_id = await pipeline.state.do(call)
        if not upload_id:
            raise
    photo = await _uploaded(request, upload_id)
    return await pipeline.submit(_asked(request, asked, photo, idempotency_key))


async def _needed(
    request: Request, asked: schemas.JobRequest, error: UploadNeeded
) -> dict[str, Any]:
    """The body of a 409. An address is signed for one length only: without it there is none yet."""
    if asked.size is None:
        error.hint = "Ask again with its `size` in bytes and its `type`: that brings the address."
        return {"error": error_body(error), "upload": None}
    return {"error": error_body(error), "upload": await _place(request, asked, asked.size)}


async def _place(
    request: Request, asked: schemas.UploadRequest | schemas.JobRequest, size: int
) -> dict[str, Any]:
    """A new upload of this user of `size` bytes: record and signed address."""
    _check_size(size)
    if asked.type not in schemas.MEDIA_TYPES:
        there = ", ".join(schemas.MEDIA_TYPES)
        raise BadInput(f"{shown(asked.type)} is not accepted; there are: {there}",
                       code="unsupported_type", status=415)  # fmt: skip
    pipeline, user, upload_id = pipeline_of(request), request.state.user, secrets.token_hex(16)
    if pipeline.check_new:
        await pipeline.check_new()
    fields: dict[str, str | int] = {
        "size": size,
        "type": asked.type,
        "sha256": asked.sha256 or "",
        "variant": asked.variant,
        "state": "signed",
    }
    ttl_s = min(OPEN_UPLOAD_S, settings().upload_ttl_s)
    await pipeline.state.do(stored_uploads.write(user, upload_id, fields, ttl_s=ttl_s))
    key = keys.upload_object(user, upload_id)
    url = pipeline.objects.presign_put(key, origin_of(request), asked.type, size)
    headers = {"Content-Type": asked.type}
    return {"id": upload_id, "url": url, "method": "PUT", "headers": headers,
            "expires_s": PRESIGN_S}  # fmt: skip


def _check_size(size: int) -> None:
    if size > settings().max_upload_mib * MIB:
        limit = f"{settings().max_upload_mib:g} MiB"
        raise BadInput(f"the file is larger than {limit}", code="too_large", status=413)


async def _answer(request: Request, view: Snapshot, wait_s: float) -> Response:
    view = await pipeline_of(request).wait(view, wait_s)
    return responses.job_response(await _body(request, view), view)


async def _body(request: Request, view: Snapshot) -> dict[str, Any]:
    pipeline = pipeline_of(request)
    card = (await _cards(pipeline)).get(view.fields["model"])
    return responses.job(view, pipeline.objects, origin_of(request), card)


async def _teller(request: Request) -> sse.Describe:
    """What turns a job's record into the job that this request's client sees, as JSON.

    Made once per look for all who look on from one origin.
    """
    pipeline, origin = pipeline_of(request), origin_of(request)
    cards = await _cards(pipeline)

    def tell(view: Snapshot) -> bytes:
        text = view.shown.get(origin)
        if text is None:
            card = cards.get(view.fields["model"])
            text = orjson.dumps(responses.job(view, pipeline.objects, origin, card))
            view.shown[origin] = text
        return text

    return tell


async def _cards(pipeline: Pipeline) -> Mapping[str, Mapping[str, Any]]:
    with suppress(JobError):
        return (await pipeline.catalogue()).models
    return {}


def _last_event_id(request: Request) -> float:
    """Where an interrupted stream is to go on; 0 at the first time, or if it is none of ours."""
    given = request.headers.get("last-event-id", "")
    return float(given) if matches(EVENT_ID, given) else 0


def _params(query: QueryParams) -> dict[str, str]:
    return {name: value for name, value in query.items() if name not in RESERVED}


async def _sha256(data: bytes) -> str:
    if len(data) < BIG:
        return hashlib.sha256(data).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
