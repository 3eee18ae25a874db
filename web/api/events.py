"""Server-sent events: the changes of one job, or of all jobs of a user."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from storage.jobs.snapshots import Snapshot
from tasks.errors import BadInput
from web.api import responses, schemas
from web.api.jobs import checked_id
from web.jobs.service import service_of
from web.live import feed, sse
from web.middleware.hosts import origin_of
from web.middleware.identity import identity_of
from web.middleware.validation import EVENT_ID, OBJECT_ID, matches
from web.text import shown

router = APIRouter(prefix=schemas.PREFIX, tags=schemas.TAGS)


_JOB = {"$ref": "#/components/schemas/Job"}
_GONE = {
    "description": "Of the event `gone`.",
    "type": "object",
    "required": ["id"],
    "additionalProperties": False,
    "properties": {"id": {"type": "string"}},
}
STREAM: dict[int | str, dict[str, Any]] = {
    **schemas.FAILURES,
    200: {
        "description": "Server-sent events, whose `data` is a job as JSON.",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "description": "One event.",
                    "properties": {
                        "id": {"type": "string"},
                        "event": {"enum": ["message", "gone"]},
                        "data": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "contentSchema": {"anyOf": [_JOB, _GONE]},
                        },
                    },
                }
            }
        },
    },
}
"""Answers of both routes."""
MOST_NAMED = 100
"""How many ended jobs the request for a stream may name."""
JOB = OBJECT_ID.pattern


@router.get("/jobs/{job_id}/events", responses=STREAM, response_class=Response)
async def job_events(request: Request, job_id: schemas.JobId) -> Response:
    """A job's changes as server-sent events: `id` grows, `data` is the job; ends with the job.

    If the job is deleted meanwhile, `event: gone` is the last one.
    """
    watcher = service_of(request).watcher
    snapshot = await watcher.get(identity_of(request).user, checked_id(job_id))
    render = await _renderer(request)
    seen = int(_last_event_id(request) or 0)
    changes = sse.job_events(job_id, watcher.watch(snapshot), render, seen)
    return sse.EventStream(b"", changes)


@router.get("/events", responses=STREAM, response_class=Response)
async def all_events(
    request: Request,
    jobs: Annotated[
        str,
        Query(
            description="Comma-separated ids of ended jobs to be included.",
            json_schema_extra={"pattern": f"^({JOB}(,{JOB})*)?$"},
        ),
    ] = "",
) -> Response:
    """All your jobs as one stream of server-sent events: `data` is a job.

    First those under way and those that are named, then every change of them and of jobs that are
    created later. `event: gone` names a job that does not exist. `id` is a time: jobs that ended
    after the one in `Last-Event-ID` are sent again.
    """
    named = [name for name in jobs.split(",") if name]
    if len(named) > MOST_NAMED:
        raise BadInput(f"{len(named)} jobs are named; the limit is {MOST_NAMED}")
    if malformed := [name for name in named if not matches(OBJECT_ID, name)]:
        raise BadInput(f"{shown(malformed[0])} is not the id of a job", code="bad_request")
    render = await _renderer(request)
    since_ms = _last_event_id(request) or feed.NEVER
    deltas = service_of(request).watcher.follow(identity_of(request).user, named, since_ms)
    events = sse.UserEvents(deltas, render)
    # Awaited here, so that an unavailable Redis is a 503 and not a stream that breaks off.
    first = await anext(events)
    return sse.EventStream(first, events)


async def _renderer(request: Request) -> sse.Render:
    """Turns a job into the JSON that this client sees; once per snapshot for all of one origin."""
    origin, results = origin_of(request), service_of(request).results
    cards = await responses.cards(request)

    def render(snapshot: Snapshot) -> bytes:
        text = snapshot.shown.get(origin)
        if text is None:
            card = cards.get(snapshot.fields["model"])
            text = orjson.dumps(responses.job(snapshot, results, origin, card))
            snapshot.shown[origin] = text
        return text

    return render


def _last_event_id(request: Request) -> float:
    """The id after which an interrupted stream goes on; 0 if there is none or none of ours."""
    given = request.headers.get("last-event-id", "")
    return float(given) if matches(EVENT_ID, given) else 0
