"""Whether this process works: /healthz for whoever restarts it, /readyz for who sends it traffic.

/healthz speaks of this process alone: restarting web mends no Redis and no S3. /readyz adds them.
"""

import asyncio
from contextlib import suppress
from typing import Annotated

import structlog
from fastapi import APIRouter, Query, Request
from prometheus_client import Gauge
from starlette.responses import Response

from storage import users
from storage.errors import StorageDown
from storage.redis.calls import TEXT, command
from storage.s3.objects import Objects
from tasks.errors import JobError
from tasks.loops import LOOPS, AsyncPeriodic
from web.api.routes import pipeline_of
from web.errors import json_response
from web.jobs.room import Room
from web.jobs.service import Pipeline
from web.maintenance.probe import Prober
from web.middleware.identity import NotSignedIn, user_of

log = structlog.get_logger()

PULSE_S = 1.0
STALLED_S = 5.0
"""An event loop whose turn took this long keeps every request waiting."""

LAG = Gauge("pixelmill_event_loop_lag_seconds", "How late the event loop woke somebody last.")

DEEP_S = 20.0
"""Time of a no-op job, unless another is asked for."""

router = APIRouter(include_in_schema=False)


def pulse() -> AsyncPeriodic:
    """The loop that shows whether the event loop itself turns."""
    return AsyncPeriodic("event loop", _beat, every_s=0, max_age_s=PULSE_S + STALLED_S)


async def _beat() -> None:
    loop = asyncio.get_running_loop()
    due = loop.time() + PULSE_S
    await asyncio.sleep(PULSE_S)
    LAG.set(max(loop.time() - due, 0))


@router.get("/healthz")
async def healthz() -> Response:
    """503 naming what hangs once a restart of this process is what helps."""
    late = LOOPS.reasons()
    return json_response({"ok": not late, "late": late}, 503 if late else 200)


@router.get("/readyz")
async def readyz(
    request: Request,
    deep: bool = False,
    limit_s: Annotated[float, Query(ge=1, le=60)] = DEEP_S,
) -> Response:
    """Whether all that this process needs is there; workers are the catalogue's matter.

    With `deep`, for admins: whether a no-op job gets through the queue and device of every model
    that is served, what each step took, and where it is stuck if it does not.
    """
    pipeline = pipeline_of(request)
    if deep:
        await _check_admin(request, pipeline)
    # At a time: one Redis that hangs is waited for once.
    storage, refusals = await asyncio.gather(_storage(pipeline), _refusals(request))
    down, refuses = [*storage, *LOOPS.reasons()], {"refuses_new_work": refusals}
    if not deep:
        return json_response({"ok": not down, "down": down, **refuses}, 503 if down else 200)
    prober: Prober = request.app.state.prober
    probes = await prober.probe(limit_s)
    if not probes:
        down.append("no model is served: there is nothing to probe")
    is_ok = not down and all(report["ok"] for report in probes.values())
    body = {"ok": is_ok, "down": down, **refuses, "probes": probes}
    return json_response(body, 200 if is_ok else 503)


async def _refusals(request: Request) -> list[str]:
    """Why new work is not taken; no reason to send no traffic, as results are still given out."""
    room: Room = request.app.state.room
    stopping = ["this server is being stopped"] if room.is_stopping else []
    with suppress(StorageDown):  # said beside this, by the PING
        return stopping + [str(reason) for reason in await room.reasons()]
    return stopping


class NotAdmin(JobError):
    """Probes are for admins."""

    code = "not_allowed"
    status = 403


async def _check_admin(request: Request, pipeline: Pipeline) -> None:
    """By the API key or the cookie of an account whose role is admin."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        user = await pipeline.state.do(users.user_of_key(key.strip()))
    else:
        user = user_of(request)
    if user is None:
        raise NotSignedIn("send the API key of an admin, or sign in as one")
    if await pipeline.state.do(users.role(user)) != "admin":
        raise NotAdmin("this is for admins only")


async def _storage(pipeline: Pipeline) -> list[str]:
    answers = await asyncio.gather(
        pipeline.state.do(command(bool, "PING", kinds=TEXT)),
        pipeline.remote.do(_see),
        return_exceptions=True,
    )
    down = [str(error) for error in answers if isinstance(error, Exception)]
    for reason in down:
        log.warning("storage down", path="/readyz", reason=reason)
    return [reason.partition(":")[0] for reason in down]  # the rest names addresses of ours


def _see(objects: Objects) -> None:
    with suppress(FileNotFoundError):
        objects.stat("readyz")
