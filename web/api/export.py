"""GET /me/export: what you have here, as one archive that is made while it is sent."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from storage.jobs.result import StoredResult
from storage.jobs.snapshots import Snapshot
from web.adapting import IS_HEAD
from web.api import responses, schemas
from web.audit import audit_of
from web.jobs.export import file_name
from web.jobs.history import MOST, Filter
from web.jobs.service import JobService, service_of
from web.jobs.shares import Share
from web.middleware.hosts import own_origin
from web.middleware.identity import identity_of
from web.zip_stream import ZipStream

router = APIRouter(prefix=schemas.PREFIX, tags=schemas.TAGS)

_ZIP = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
_HEADERS = {
    "content-type": "application/zip",
    "content-disposition": 'attachment; filename="pixelmill.zip"',
    "cache-control": "no-store",
}
_TEXT = 6
"""Level of zlib for JSON; pictures are copied, as they are compressed already."""


class Archive(StreamingResponse):
    """Sends the parts of an archive, and says when it is over, however that comes."""

    def __init__(self, parts: AsyncGenerator[bytes, None], on_end: Callable[[], None]) -> None:
        super().__init__(parts, headers=_HEADERS)
        self._parts, self._on_end = parts, on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the archive."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()
            await self._parts.aclose()


@router.get(
    "/me/export",
    response_class=StreamingResponse,
    responses={200: {"content": _ZIP, "description": "The archive."}, **schemas.FAILURES},
)
async def export_data(request: Request) -> Response:
    """All that you have here, as a ZIP archive: jobs and links as JSON, results, and uploads that
    are still kept. One at a time."""
    identity, service = identity_of(request), service_of(request)
    if IS_HEAD in request.scope:
        return Response(headers=_HEADERS)
    await audit_of(request).record("data.export", identity, identity.user)
    end = service.exports.begin(identity.user)  # nothing is awaited between this and the answer
    return Archive(_archive(service, identity.user, own_origin(request)), end)


async def _archive(service: JobService, user: str, origin: str) -> AsyncGenerator[bytes, None]:
    archive = ZipStream(datetime.now(UTC))
    try:
        yield archive.start("jobs.json", _TEXT)
        async for line in _jobs(service, user):
            yield archive.data(line)
        yield archive.end() + archive.start("links.json", _TEXT)
        shares = await service.shares.of_user(user)
        yield archive.data(orjson.dumps([_share(share) for share in shares])) + archive.end()
        async with aclosing(service.exports.files(user)) as files:
            async for file in files:
                yield archive.start(file.name)
                try:
                    async for part in service.exports.parts(file):
                        yield archive.data(part)
                finally:
                    await asyncio.to_thread(file.reader.close)
                yield archive.end()
        for part in archive.finish():
            yield part
    finally:
        archive.close()


async def _jobs(service: JobService, user: str) -> AsyncIterator[bytes]:
    """A JSON array, a page at a time."""
    before, separator = "", b"[\n"
    while True:
        page = await service.history.page(user, Filter(), before, MOST)
        for job in page.jobs:
            yield separator + orjson.dumps(_job(job, service))
            separator = b",\n"
        before = page.next
        if not before:
            break
    yield b"\n]\n" if separator == b",\n" else b"[]\n"


def _job(job: Snapshot, service: JobService) -> dict[str, Any]:
    """As the API answers it, with names of files in the archive instead of addresses."""
    body: dict[str, Any] = {**responses.job(job, service.results, "", None)}
    body["upload"] = job.fields.get("upload") or None
    if body["result"]:
        stored: StoredResult = orjson.loads(job.fields["result"])
        files = {
            name: file_name(job.fields["user"], image["key"])
            for name, image in stored["objects"].items()
        }
        small = stored.get("thumbnail")
        file = file_name(job.fields["user"], small["key"]) if small else None
        body["result"] = {**body["result"], "objects": files, "thumbnail": file}
    return body


def _share(share: Share) -> dict[str, Any]:
    return {
        "id": share.id,
        "job": share.job,
        "object": share.object,
        "created_ms": share.created_ms,
        "expires_ms": share.expires_ms,
    }
