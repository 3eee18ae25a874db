"""Reads a request's body into memory: bounded per request and per process."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from tasks import counts
from tasks.admission import Busy
from tasks.errors import BadInput, JobError
from tasks.settings import MIB, settings

DISCARD_BYTES = 128 * MIB
DISCARD_S = 20.0
PROCESS_BYTES = 512 * MIB
"""Bodies that one web process holds at a time; beyond that, come back later."""

_held = 0


@asynccontextmanager
async def body_of(request: Request) -> AsyncIterator[bytes]:
    """The whole body, counted against the process's memory while the context lasts.

    Raises BadInput 413 for one above the limit, after reading and discarding it (up to 128 MiB and
    20 s): a client that is still sending could not read an earlier answer.
    """
    global _held
    limit = int(settings().max_upload_mib * MIB)
    declared = int(request.headers.get("content-length") or limit)
    reserved = min(declared, limit)
    if _held + reserved > PROCESS_BYTES:
        counts.REFUSED.labels("", "bodies_mib").inc()
        raise Busy(
            f"too many uploads at a time; the limit is {PROCESS_BYTES / MIB:g} MiB",
            limit="bodies_mib",
            value=PROCESS_BYTES / MIB,
            retry_after_s=2,
        )
    _held += reserved
    try:
        yield await _read(request, limit)
    finally:
        _held -= reserved


async def _read(request: Request, limit: int) -> bytes:
    data = bytearray()
    received, give_up_at = 0, time.monotonic() + DISCARD_S
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received <= limit:
                data += chunk
            elif received > DISCARD_BYTES or time.monotonic() > give_up_at:
                break
    except ClientDisconnect as error:
        raise JobError("the client went away", code="disconnected", status=499) from error
    if received > limit:
        raise BadInput(
            f"the file is larger than {limit / MIB:g} MiB",
            code="too_large",
            status=413,
            hint="Send a smaller one: 2048 pixels on the longest side are worked on at most.",
        )
    return bytes(data)
