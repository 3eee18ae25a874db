"""The audit log, for admins: a page at a time, or all of it as JSON lines."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from storage.times import ms_of
from web.api import audit_schemas, schemas
from web.api.paging import ENTRY_ID, checked_cursor
from web.audit import Filter, as_json, audit_of
from web.errors import json_response
from web.middleware.identity import identity_of
from web.middleware.scopes import NotAllowed

router = APIRouter(prefix=schemas.PREFIX, tags=schemas.TAGS)

_LINES = {"application/x-ndjson": {"schema": {"type": "string"}}}


def _filter(
    user: Annotated[str, Query(max_length=64, description="Only what this user did.")] = "",
    action: Annotated[
        str, Query(max_length=64, description="Only this action, as `key.add`, or kind of actions.")
    ] = "",
    since: Annotated[
        datetime | None, Query(description="Only events at this time or later.")
    ] = None,
) -> Filter:
    return Filter(user, action, max(int(ms_of(since)), 0) if since else 0)


Wanted = Annotated[Filter, Depends(_filter)]


@router.get(
    "/audit",
    responses={200: {"model": audit_schemas.Audit}, **schemas.FAILURES, 403: schemas.ADMINS_ONLY},
)
async def list_events(
    request: Request,
    wanted: Wanted,
    limit: Annotated[int, Query(ge=1, le=250, description="Most events of a page.")] = 50,
    cursor: Annotated[str, Query(max_length=32, description="`next` of the page before.")] = "",
) -> Response:
    """Who did what, on which id, from which network, and what came of it; newest first."""
    await _check_admin(request)
    events, after = await audit_of(request).page(wanted, checked_cursor(cursor, ENTRY_ID), limit)
    return json_response({"events": [as_json(event) for event in events], "next": after or None})


@router.get(
    "/audit/export",
    response_class=StreamingResponse,
    responses={
        200: {"content": _LINES, "description": "One event a line, oldest first."},
        **schemas.FAILURES,
        403: schemas.ADMINS_ONLY,
    },
)
async def export_events(request: Request, wanted: Wanted) -> Response:
    """The whole log as JSON lines, oldest first."""
    await _check_admin(request)
    headers = {"content-disposition": 'attachment; filename="audit.jsonl"'}
    lines = _lines(request, wanted)
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)


async def _lines(request: Request, wanted: Filter) -> AsyncIterator[bytes]:
    async with aclosing(audit_of(request).everything(wanted)) as pages:
        async for events in pages:
            yield b"".join(orjson.dumps(as_json(event)) + b"\n" for event in events)


async def _check_admin(request: Request) -> None:
    """Raises NotAllowed for others than admins, which is recorded, and records that it was read."""
    identity = identity_of(request)
    is_admin = identity.role == "admin"
    outcome = "ok" if is_admin else NotAllowed.code
    await audit_of(request).record("audit.read", identity, "", outcome)
    if not is_admin:
        raise NotAllowed("the audit log is for admins only")
