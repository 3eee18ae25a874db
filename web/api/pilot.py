"""The pilot, for admins: what it sees and orders, and its log."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from storage import pilot, pilot_log
from web.api import pilot_schemas, schemas
from web.api.paging import ENTRY_ID, checked_cursor
from web.errors import json_response
from web.jobs.system import system_of
from web.middleware.identity import identity_of
from web.middleware.scopes import NotAllowed

router = APIRouter(prefix=schemas.PREFIX, tags=schemas.TAGS)


@router.get(
    "/pilot",
    responses={200: {"model": pilot_schemas.Pilot}, **schemas.FAILURES, 403: schemas.ADMINS_ONLY},
)
async def show_pilot(request: Request) -> Response:
    """What the pilot sees of each model, why its rules act or do not, and what it has ordered."""
    _check_admin(request)
    system = await system_of(request).read()
    orders, now_ms = system.orders, system.catalogue.now_ms
    models = {
        name: {**asdict(view), "is_fresh": pilot.is_fresh(view, now_ms), "order": orders.of(name)}
        for name, view in system.views.items()
    }
    return json_response({"paused": orders.paused_until_ms > now_ms, "models": models})


@router.get(
    "/pilot/log",
    responses={
        200: {"model": pilot_schemas.PilotLog},
        **schemas.FAILURES,
        403: schemas.ADMINS_ONLY,
    },
)
async def list_decisions(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=250, description="Most entries of a page.")] = 50,
    cursor: Annotated[str, Query(max_length=32, description="`next` of the page before.")] = "",
) -> Response:
    """What was done and not done, with the numbers, and what came of it; newest first."""
    _check_admin(request)
    decisions = await system_of(request).decisions(limit, checked_cursor(cursor, ENTRY_ID) or "+")
    after = decisions[-1].id if decisions else None
    entries = [pilot_log.as_json(decision) for decision in decisions]
    return json_response({"decisions": entries, "next": after})


def _check_admin(request: Request) -> None:
    if identity_of(request).role != "admin":
        raise NotAllowed("the pilot is for admins only")
