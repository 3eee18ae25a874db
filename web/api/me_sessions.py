"""The browsers on which one has signed in: to see them, and to sign them out."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from storage.times import rfc3339
from tasks.errors import BadInput
from web.accounts import Session, accounts_of
from web.api import schemas
from web.api.routing import ParsedRoute
from web.errors import json_response
from web.middleware.identity import identity_of
from web.middleware.validation import OBJECT_ID, matches
from web.text import shown

router = APIRouter(prefix=schemas.PREFIX, tags=schemas.TAGS, route_class=ParsedRoute)

SessionId = Annotated[
    str,
    Path(
        description="The id of one of your sessions.",
        json_schema_extra={"pattern": f"^{OBJECT_ID.pattern}$"},
    ),
]


class SessionBody(BaseModel):
    """One browser that is signed in."""

    id: str
    began: datetime
    last_used: datetime = Field(description="To the minute.")
    ends: datetime = Field(description="At the latest.")
    network: str = Field(description="The network that the sign-in came from: a /24 or a /48.")
    browser: str = Field(description="What the browser calls itself.")
    is_this: bool = Field(description="Whether this request came with it.")


class SessionsBody(BaseModel):
    """Where you are signed in, the newest first."""

    sessions: list[SessionBody]


@router.get("/me/sessions", responses={200: {"model": SessionsBody}, **schemas.FAILURES})
async def list_sessions(request: Request) -> Response:
    """The browsers on which you are signed in, the newest first."""
    identity = identity_of(request)
    sessions = await accounts_of(request).sessions(identity.user)
    return json_response({"sessions": [_body(session, identity.session) for session in sessions]})


@router.delete("/me/sessions", status_code=204, responses=schemas.FAILURES)
async def end_sessions(request: Request) -> Response:
    """Sign out everywhere: within five seconds no process accepts any of your sessions."""
    await accounts_of(request).end_sessions(identity_of(request).user)
    return Response(status_code=204)


@router.delete("/me/sessions/{session_id}", status_code=204, responses=schemas.FAILURES)
async def end_session(request: Request, session_id: SessionId) -> Response:
    """Sign one browser out."""
    user = identity_of(request).user
    has_ended = matches(OBJECT_ID, session_id) and await accounts_of(request).end_session(
        user, session_id
    )
    if not has_ended:
        raise BadInput(f"no session {shown(session_id)}", code="no_session", status=404)
    return Response(status_code=204)


def _body(session: Session, own: str | None) -> dict[str, object]:
    return {
        "id": session.id,
        "began": rfc3339(session.began_ms, "seconds"),
        "last_used": rfc3339(session.seen_ms, "seconds"),
        "ends": rfc3339(session.ends_ms, "seconds"),
        "network": session.network,
        "browser": session.agent,
        "is_this": session.id == own,
    }
