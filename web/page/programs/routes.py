"""The routes of Gradio's protocol that programs use, and no others."""

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import RedirectResponse, Response

from tasks.errors import BadInput, JobError
from tasks.message import error_record
from web.api import responses
from web.api.body import body_of
from web.api.routing import ParsedRoute
from web.errors import json_response
from web.jobs.service import service_of
from web.jobs.sessions import Event
from web.middleware.hosts import origin_of, own_origin
from web.middleware.identity import identity_of
from web.middleware.page_routes import GRADIO
from web.middleware.validation import OBJECT_ID, matches
from web.page.deferred import DeferredPage
from web.page.programs import calls
from web.page.programs.answers import GradioStream, SessionMessages
from web.page.programs.calls import Call

if TYPE_CHECKING:  # it imports Gradio
    from web.page.programs.description import Description

router = APIRouter(include_in_schema=False, route_class=ParsedRoute)
PREFIX = "/gradio_api"
READ = ["GET", "HEAD"]
Session = Annotated[str, Query(alias="session_hash", pattern=r"^[A-Za-z0-9-]{1,64}$")]


class Cancellation(BaseModel):
    """The body of `cancel`. Clients send more fields."""

    session_hash: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
    event_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


@router.api_route("/ui/config", methods=READ)
async def config(request: Request) -> Response:
    """What `Client("http://.../ui/")` asks for first. Its cookie is the client's identity."""
    description = await _description(request)
    return json_response(description.config_at(f"{own_origin(request)}/ui", PREFIX))


@router.api_route("/config", methods=READ)
async def config_of_root(request: Request) -> Response:
    """The same for `Client("http://.../")`."""
    description = await _description(request)
    return json_response(description.config_at(own_origin(request), GRADIO.rstrip("/")))


@router.api_route(f"{GRADIO}info", methods=READ)
async def info(request: Request) -> Response:
    """The endpoints: one."""
    return json_response((await _description(request)).info)


@router.post(f"{GRADIO}upload")
async def upload(request: Request) -> Response:
    """Store a photo; the answer is what the client names it by."""
    service = service_of(request)
    async with body_of(request) as received:
        with service.limiter.in_progress(), service.limiter.waiting_for_s3():
            upload_id = await calls.store(service, identity_of(request), received.picture)
    return json_response([f"{upload_id}/photo"])


@router.post(f"{GRADIO}queue/join")
async def join(request: Request, call: Call) -> Response:
    """Submit a job. A refusal is an event too: the client shows no other errors' messages."""
    try:
        event = await calls.submit(request, call)
    except JobError as error:
        event = Event(error=error_record(error))
    sessions = service_of(request).sessions
    event_id = await sessions.add(identity_of(request).user, call.session_hash, event)
    return json_response({"event_id": event_id})


@router.api_route(f"{GRADIO}queue/data", methods=READ)
async def data(request: Request, session: Session) -> Response:
    """How the jobs of a session go, as server-sent events."""
    service, origin = service_of(request), origin_of(request)
    cards = await responses.cards(request)
    messages = SessionMessages(
        service.sessions,
        service.watcher,
        identity_of(request).user,
        session,
        lambda snapshot: responses.job(
            snapshot, service.results, origin, cards.get(snapshot.fields["model"])
        ),
    )
    return GradioStream(b"", messages.chunks())


@router.api_route(f"{GRADIO}file={{job_id}}/{{name}}/{{file}}", methods=READ)
async def picture(request: Request, job_id: str, name: str, file: str) -> Response:
    """Leads to a picture of a job of this user."""
    if not matches(OBJECT_ID, job_id):
        raise _no_picture()
    service = service_of(request)
    snapshot = await service.get(identity_of(request).user, job_id)
    job = responses.job(snapshot, service.results, origin_of(request), None)
    found = job["result"] and job["result"]["objects"].get(name)
    if not found:
        raise _no_picture()
    return RedirectResponse(found["url"], 302, {"cache-control": "no-store"})


@router.post(f"{GRADIO}cancel")
async def cancel(request: Request, body: Cancellation) -> Response:
    """Cancel the job of an event."""
    service, user = service_of(request), identity_of(request).user
    event = (await service.sessions.events(user, body.session_hash)).get(body.event_id)
    if event and event.job_id:
        await service.cancel(user, event.job_id)
    return json_response({"success": True})


@router.post(f"{GRADIO}reset")
async def reset() -> Response:
    """Clients send this beside `cancel`; it means nothing here, as in Gradio itself."""
    return json_response({"success": True})


def _no_picture() -> BadInput:
    return BadInput("there is no such picture", code="not_found", status=404)


async def _description(request: Request) -> "Description":
    page: DeferredPage = request.app.state.page
    await page.ready()
    from web.page.programs.description import describe

    return describe()
