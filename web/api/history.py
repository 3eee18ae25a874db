"""GET /jobs: what you have asked for, newest first."""

import re
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BeforeValidator
from starlette.responses import Response

from storage.times import ms_of
from web.api import responses, schemas
from web.api.paging import checked_cursor
from web.errors import json_response
from web.jobs.history import MOST, Filter
from web.jobs.service import service_of
from web.jobs.submission import MAX_NAME
from web.middleware.hosts import origin_of
from web.middleware.identity import identity_of
from web.middleware.validation import EVENT_ID

router = APIRouter(prefix=schemas.PREFIX, tags=schemas.TAGS)

_LIMIT = 20
_NUMBER = re.compile(r"[+-]?[0-9]*[.]?[0-9]*([eE][+-]?[0-9]+)?")

States = Annotated[
    list[schemas.State], Query(max_length=8, description="Only jobs in one of these states.")
]
Models = Annotated[
    list[Annotated[str, Query(max_length=64, json_schema_extra=schemas.MODEL_NAME)]],
    Query(max_length=16, description="Only jobs of one of these models."),
]


def _is_date(text: str) -> str:
    """Raises ValueError for a number, of which nobody could say whether it is in s or in ms."""
    if _NUMBER.fullmatch(text):
        raise ValueError("a date and a time were expected, as in 2026-11-29T12:00:00Z")
    return text


Name = Annotated[
    str,
    Query(max_length=MAX_NAME, description="Only jobs whose name contains this."),
]
Time = Annotated[datetime, BeforeValidator(_is_date)]
Since = Annotated[Time | None, Query(description="Only jobs asked for at this time or later.")]
Until = Annotated[Time | None, Query(description="Only jobs asked for before this time.")]
Limit = Annotated[int, Query(ge=1, le=MOST, description="Most jobs of a page.")]
Cursor = Annotated[
    str,
    Query(
        max_length=32,
        description="`next` of the page before; it replaces `until`.",
        json_schema_extra={"pattern": f"^({EVENT_ID.pattern})?$"},
    ),
]


@router.get("/jobs", responses={200: {"model": schemas.Jobs}, **schemas.FAILURES})
async def list_jobs(
    request: Request,
    state: States = [],  # noqa: B006 (FastAPI copies it)
    model: Models = [],  # noqa: B006 (as above)
    name: Name = "",
    since: Since = None,
    until: Until = None,
    limit: Limit = _LIMIT,
    cursor: Cursor = "",
) -> Response:
    """Your jobs, newest first, for as long as they are kept."""
    wanted = Filter(state, model, name, ms_of(since) if since else 0)
    before = checked_cursor(cursor, EVENT_ID) or (f"{ms_of(until):.3f}" if until else "")
    service = service_of(request)
    page = await service.history.page(identity_of(request).user, wanted, before, limit)
    cards, origin = await responses.cards(request), origin_of(request)
    jobs = [
        responses.job(job, service.results, origin, cards.get(job.fields["model"]))
        for job in page.jobs
    ]
    return json_response({"jobs": jobs, "next": page.next or None})
