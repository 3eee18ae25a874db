"""Server-sent events: a job's every change, resumable on any web process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Any

import orjson
from starlette.responses import StreamingResponse

from storage.records import View
from tasks.pipeline import Pipeline

PING_S = 15.0
HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}

Describe = Callable[[View], dict[str, Any]]


def stream(pipeline: Pipeline, view: View, describe: Describe, seen: int) -> StreamingResponse:
    """The job's changes after version `seen`, a snapshot first, until it has ended."""
    body = _events(pipeline, view, describe, seen)
    return StreamingResponse(body, media_type="text/event-stream", headers=HEADERS)


async def _events(
    pipeline: Pipeline, view: View, describe: Describe, seen: int
) -> AsyncIterator[bytes]:
    last_sent = monotonic()
    yield b"retry: 1000\n\n"
    try:
        async for now in pipeline.watch(view, every_change=True):
            if now.version > seen:
                seen, last_sent = now.version, monotonic()
                yield b"id: %d\ndata: %s\n\n" % (now.version, orjson.dumps(describe(now)))
            elif monotonic() - last_sent > PING_S:
                last_sent = monotonic()
                yield b": ping\n\n"
    except asyncio.CancelledError:
        return
