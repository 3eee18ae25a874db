"""Whether this process works: /healthz for whoever restarts it, /readyz for who sends it traffic.

/healthz speaks of this process alone: restarting web mends no Redis and no S3. /readyz adds them.
"""

import asyncio
from contextlib import suppress

from fastapi import APIRouter, Request
from prometheus_client import Gauge
from starlette.responses import Response

from storage.calls import TEXT, command
from storage.objects import Objects
from tasks.loops import LOOPS, AsyncLoop
from tasks.pipeline import Pipeline
from web.api import pipeline_of
from web.errors import json_response

PULSE_S = 1.0
STALLED_S = 5.0
"""An event loop whose turn took this long keeps every request waiting."""

LAG = Gauge("pixelmill_event_loop_lag_seconds", "How late the event loop woke somebody last.")

router = APIRouter(include_in_schema=False)


def pulse() -> AsyncLoop:
    """The loop that shows whether the event loop itself turns."""
    return AsyncLoop("event loop", _beat, every_s=0, allowed_s=PULSE_S + STALLED_S)


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
async def readyz(request: Request) -> Response:
    """Whether all that this process needs is there; workers are the catalogue's matter."""
    down = [*await _storage(pipeline_of(request)), *LOOPS.reasons()]
    return json_response({"ok": not down, "down": down}, 503 if down else 200)


async def _storage(pipeline: Pipeline) -> list[str]:
    answers = await asyncio.gather(
        pipeline.state.do(command(bool, "PING", kinds=TEXT)),
        pipeline.remote.do(_see),
        return_exceptions=True,
    )
    return [str(error) for error in answers if isinstance(error, Exception)]


def _see(objects: Objects) -> None:
    with suppress(FileNotFoundError):
        objects.stat("readyz")
