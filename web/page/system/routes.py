"""GET /system: for admins, and in open mode also for whoever uses the machine itself."""

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from tasks.errors import JobError
from tasks.settings import settings
from web.audit import Filter, audit_of
from web.jobs.system import system_of
from web.local import is_local
from web.middleware.identity import NotSignedIn, identities_of
from web.page.html import alert, document, sentence
from web.page.system.page import page

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
    return page(await reader.read(), users, events, is_local=is_local(request))


def _refusal(error: JobError) -> Response:
    if isinstance(error, NotSignedIn):
        return RedirectResponse("/login", 303)
    body = f'<h1>System</h1>{alert(sentence(error))}<p><a href="/ui/">Back to the photos</a></p>'
    return document("system", body, error.status)
