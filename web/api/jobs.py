"""Jobs: create by an upload or a hash, read, cancel, delete."""

import asyncio
from collections.abc import Sequence
from typing import TypedDict

from fastapi import APIRouter, Request
from starlette.responses import Response

from storage.errors import StorageDown
from storage.jobs.snapshots import Snapshot
from storage.states import ENDED
from tasks.errors import BadInput, JobError
from web import rate_limit
from web.api import responses, schemas
from web.api.routing import ParsedRoute
from web.api.uploads import file_to_send, sign
from web.audit import audit_of
from web.errors import ErrorBody, error_body, error_response, json_response, storage_response
from web.fair_share import share_of
from web.jobs.quotas import Allowance
from web.jobs.service import service_of
from web.jobs.submission import (
    DEFAULT_OUTPUT,
    Photo,
    Submission,
    UploadNeeded,
    name_of_photo,
)
from web.jobs.uploads import SignedUpload, no_upload
from web.live.watcher import no_job
from web.middleware.identity import identity_of
from web.middleware.validation import OBJECT_ID, matches
from web.payer import payer_of

router = APIRouter(prefix=schemas.PREFIX, tags=schemas.TAGS, route_class=ParsedRoute)


class UploadNeededBody(TypedDict):
    """schemas.UploadNeeded."""

    error: ErrorBody
    upload: SignedUpload | None


@router.post(
    "/jobs",
    responses={
        **schemas.JOB,
        200: {"model": schemas.Job | list[schemas.Job], **rate_limit.LIMITED},
        202: {
            "model": schemas.Job | list[schemas.Job] | schemas.UploadNeeded,
            **rate_limit.LIMITED,
        },
        409: {"model": schemas.UploadNeeded, "description": "Send the bytes first."},
    },
)
async def create_jobs(
    request: Request,
    body: schemas.JobRequest,
    wait: schemas.Wait = 0,
    idempotency_key: schemas.IdempotencyKey = "",
) -> Response:
    """Submit work on an upload, on several, or on a file whose bytes may be known already."""
    named = [name for name in (body.upload, body.uploads, body.sha256) if name]
    if len(named) != 1:
        raise BadInput("name the image by one of: upload, uploads, sha256", code="bad_request")
    if body.uploads:
        return await _several(request, body, wait, idempotency_key)
    try:
        snapshot = await (_by_upload if body.upload else _by_hash)(request, body, idempotency_key)
    except UploadNeeded as error:
        status = 202 if body.or_upload else error.status
        return json_response(await _upload_needed(request, body, error), status)
    return await responses.answer(request, snapshot, wait)


@router.get("/jobs/{job_id}", responses={200: {"model": schemas.Job}, **schemas.FAILURES})
async def get_job(request: Request, job_id: schemas.JobId) -> Response:
    """How one of your jobs is going. The status is 200 whatever the job's state."""
    snapshot = await service_of(request).get(identity_of(request).user, checked_id(job_id))
    return json_response(await responses.body(request, snapshot))


@router.post("/jobs/{job_id}/cancel", responses={200: {"model": schemas.Job}, **schemas.FAILURES})
async def cancel_job(request: Request, job_id: schemas.JobId) -> Response:
    """Cancel a job: `cancelling` until the worker that computes it confirms, else `cancelled`.

    Work that other jobs wait for goes on. A job that has ended stays as it is.
    """
    snapshot = await service_of(request).cancel(identity_of(request).user, checked_id(job_id))
    return json_response(await responses.body(request, snapshot))


@router.delete("/jobs/{job_id}", status_code=204, responses=schemas.FAILURES)
async def delete_job(request: Request, job_id: schemas.JobId) -> Response:
    """Cancel a job if it has not ended, and delete it, its result and its upload.

    What other jobs of the same user share with it stays.
    """
    identity = identity_of(request)
    await service_of(request).delete(identity.user, checked_id(job_id))
    await audit_of(request).record("job.delete", identity, job_id)
    return Response(status_code=204)


def checked_id(job_id: str) -> str:
    """The id, if it has the form of one; else raises the error for a job that does not exist."""
    if not matches(OBJECT_ID, job_id):
        raise no_job(job_id)
    return job_id


async def _several(
    request: Request, body: schemas.JobRequest, wait: float, idempotency_key: str
) -> Response:
    service = service_of(request)
    # All uploads are checked before any is submitted: a missing one leaves no half of the work.
    photos = [await _photo(request, upload_id) for upload_id in body.uploads or []]
    # Submitted concurrently, so that their runs are claimed together and share messages.
    submitted = (
        service.submit(
            _submission(request, body, photo, idempotency_key and f"{idempotency_key} {number}")
        )
        for number, photo in enumerate(photos)
    )
    outcomes = await asyncio.gather(*submitted, return_exceptions=True)
    snapshots = [outcome for outcome in outcomes if isinstance(outcome, Snapshot)]
    if len(snapshots) < len(outcomes):
        return _partly_refused(request.url.path, outcomes)
    headers = rate_limit.headers(max((item.allowances for item in snapshots), key=_used))
    waiting = (service.watcher.wait(snapshot, wait) for snapshot in snapshots)
    bodies = [
        await responses.body(request, snapshot) for snapshot in await asyncio.gather(*waiting)
    ]
    under_way = any(item["state"] not in ENDED for item in bodies)
    return json_response(bodies, 202 if under_way else 200, headers)


def _partly_refused(path: str, outcomes: Sequence[Snapshot | BaseException]) -> Response:
    """Why the first of the jobs that could not be started was not, and the ids of the others."""
    ids = [item.fields["id"] if isinstance(item, Snapshot) else None for item in outcomes]
    error = next(item for item in outcomes if isinstance(item, BaseException))
    if isinstance(error, StorageDown):
        return storage_response(error, path, ids)
    if isinstance(error, JobError):
        return error_response(error, ids)
    raise error


def _used(allowances: Sequence[Allowance]) -> int:
    """Grows with each claim of one payer."""
    return sum(item.used for item in allowances)


async def _by_upload(request: Request, body: schemas.JobRequest, idempotency_key: str) -> Snapshot:
    photo = await _photo(request, str(body.upload))
    return await service_of(request).submit(_submission(request, body, photo, idempotency_key))


async def _by_hash(request: Request, body: schemas.JobRequest, idempotency_key: str) -> Snapshot:
    """A file by its hash: its result if there is one, else work on the bytes if they are there."""
    service, sha256, variant = service_of(request), str(body.sha256), body.variant
    photo = Photo(f"{sha256}:{variant}", body.size or 0)
    try:
        return await service.submit(_submission(request, body, photo, idempotency_key))
    except UploadNeeded:
        upload_id = await service.uploads.find(identity_of(request).user, sha256, variant)
        if not upload_id:
            raise
    photo = await _photo(request, upload_id)
    return await service.submit(_submission(request, body, photo, idempotency_key))


async def _photo(request: Request, upload_id: str) -> Photo:
    if not matches(OBJECT_ID, upload_id):
        raise no_upload(upload_id)
    return await service_of(request).uploads.photo(identity_of(request).user, upload_id)


def _submission(
    request: Request, body: schemas.JobRequest, photo: Photo, idempotency_key: str
) -> Submission:
    identity = identity_of(request)
    return Submission(
        identity.user, body.model, photo, body.params, body.output or DEFAULT_OUTPUT,
        body.priority, body.keep, body.deadline_s, idempotency_key, share_of(identity),
        payer_of(identity), name_of_photo(body.name), body.lighter,
    )  # fmt: skip


async def _upload_needed(
    request: Request, body: schemas.JobRequest, error: UploadNeeded
) -> UploadNeededBody:
    """The body of a 409. Without a size there is no address: each is signed for one size."""
    if body.size is None:
        error.hint = (
            "Send it again with the file's `size` in bytes and its `type` to get an address."
        )
        return {"error": error_body(error), "upload": None}
    upload, _ = await sign(request, file_to_send(body, body.size))
    return {"error": error_body(error), "upload": upload}
