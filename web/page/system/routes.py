"""GET /system: for admins, and in open mode also for whoever uses the machine itself."""

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from storage.pilot import Pins
from tasks.errors import BadInput, JobError
from tasks.settings import settings
from web.audit import Filter, audit_of
from web.jobs.system import system_of
from web.local import is_local
from web.middleware.identity import NotSignedIn, identities_of
from web.page.html import alert, document, sentence
from web.page.system.page import page
from web.pilot import by_hand

router = APIRouter(include_in_schema=False)

EVENTS = 15
"""Of the audit log that are shown."""


@router.get("/system")
async def show(request: Request) -> Response:
    """The page. Who uses the installation is shown to admins alone."""
    try:
        identity = await identities_of(request).resolve_admin(request)
    except JobError as error:
        if settings().auth != "open" or not is_local(request):
            return _refusal(error)
        return page(await system_of(request).read(), None, [], is_local=True)
    reader, log = system_of(request), audit_of(request)
    if reader.is_first_look(identity.user):
        await log.record("audit.read", identity, "")
    events, _ = await log.page(Filter(), "", EVENTS)
    users = await reader.users()
    decisions = await reader.decisions(EVENTS)
    return page(await reader.read(), users, events, decisions, is_local=is_local(request))


@router.post("/system/pilot/{action}")
async def tell_pilot(
    request: Request,
    action: Literal["pause", "resume", "pin"],
    model: Annotated[str, Form(max_length=64)] = "",
    profile: Annotated[str, Form(max_length=40)] = "",
    version: Annotated[str, Form(max_length=40)] = "",
    workers: Annotated[int, Form(ge=0, le=9999)] = 0,
) -> Response:
    """Pause the pilot, let it go on, or fix what it is to leave alone; for admins."""
    identity = await identities_of(request).resolve_admin(request)
    reader, log = system_of(request), audit_of(request)
    if action == "pin" and model not in (await reader.read()).views:
        raise BadInput("the pilot knows no such model", code="no_model", status=404)
    calls = {
        "pause": lambda: by_hand.pause(identity.user),
        "resume": lambda: by_hand.resume(identity.user),
        "pin": lambda: by_hand.pin(model, Pins(profile, version, workers), identity.user),
    }
    await reader.tell_pilot(calls[action]())
    await log.record(f"pilot.{action}", identity, model)
    return RedirectResponse("/system#title-pilot", 303)


def _refusal(error: JobError) -> Response:
    if isinstance(error, NotSignedIn):
        return RedirectResponse("/login", 303)
    body = f'<h1>System</h1>{alert(sentence(error))}<p><a href="/ui/">Back to the photos</a></p>'
    return document("system", body, error.status)
