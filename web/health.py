"""Health of this process: /healthz for who restarts it, /readyz for who sends it traffic.

/healthz is about this process alone, since restarting it repairs neither Redis nor S3. /readyz
includes both.
"""

import asyncio
from contextlib import suppress
from typing import Annotated, cast

from fastapi import APIRouter, Query, Request
from prometheus_client import Gauge
from starlette.responses import Response

from storage.errors import StorageDown
from tasks.loops import LOOPS, AsyncPeriodic
from web import hang
from web.errors import json_response
from web.jobs.service import service_of
from web.maintenance.outages import OutageCheck
from web.maintenance.probe import Prober
from web.middleware.identity import identities_of

PULSE_S = 1.0
STALLED_S = 5.0
"""A turn of the event loop that takes this long keeps every request waiting."""

LAG = Gauge("pixelmill_event_loop_lag_seconds", "How late the event loop last woke a timer.")

DEEP_S = 20.0
"""How long a probe may take, unless the request says otherwise."""

router = APIRouter(include_in_schema=False)


def pulse() -> AsyncPeriodic:
    """The loop whose age shows whether the event loop itself turns."""
    return AsyncPeriodic("event loop", _beat, every_s=0, max_age_s=PULSE_S + STALLED_S)


async def _beat() -> None:
    loop = asyncio.get_running_loop()
    hang.beat()
    due = loop.time() + PULSE_S
    await asyncio.sleep(PULSE_S)
    LAG.set(max(loop.time() - due, 0))


@router.get("/healthz")
async def healthz() -> Response:
    """503 when a restart of this process would help; names the loops that hang."""
    late = LOOPS.reasons()
    return json_response({"ok": not late, "late": late}, 503 if late else 200)


@router.get("/readyz")
async def readyz(
    request: Request,
    deep: bool = False,
    limit_s: Annotated[float, Query(ge=1, le=60)] = DEEP_S,
) -> Response:
    """Whether all that this process needs is there. Workers are not: /api/v1/models shows them.

    With `deep`, for admins only: whether a no-op job gets through the queue and device of every
    model that is served, how long each step took, and at which step it is stuck if it does not.
    """
    if deep:
        await identities_of(request).resolve_admin(request)
    check: OutageCheck = request.app.state.outage_check
    # At the same time: a Redis that hangs is waited for once.
    outages, refusals = await asyncio.gather(check.outages(), _refusals(request))
    down, refuses = [*outages, *LOOPS.reasons()], {"refuses_new_work": refusals}
    if not deep:
        return json_response({"ok": not down, "down": down, **refuses}, 503 if down else 200)
    probes = await cast(Prober, request.app.state.prober).probe(limit_s)
    if not probes:
        down.append("no model is served: there is nothing to probe")
    is_ok = not down and all(report["ok"] for report in probes.values())
    body = {"ok": is_ok, "down": down, **refuses, "probes": probes}
    return json_response(body, 200 if is_ok else 503)


async def _refusals(request: Request) -> list[str]:
    """Why new work is refused. Results are still served, so the process stays ready."""
    room = service_of(request).room
    stopping = ["this server is being stopped"] if room.is_stopping else []
    with suppress(StorageDown):  # an outage is reported beside this
        return stopping + [str(reason) for reason in await room.reasons()]
    return stopping
