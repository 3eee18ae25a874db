"""Reads a request's body into memory, bounded per request and per process."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from tasks.errors import BadInput, JobError
from tasks.settings import MIB, settings
from web.connections.memory import Reservation, out_of_memory

DISCARD_BYTES = 128 * MIB
DISCARD_S = 20.0


@asynccontextmanager
async def body_of(request: Request) -> AsyncIterator[bytes]:
    """The whole body. Its memory is reserved while it arrives, and until the context ends.

    Raises BadInput (413) for a body above the limit, but first reads and discards it (up to
    DISCARD_BYTES and DISCARD_S): a client that is still sending would not read an earlier answer.
    Raises Busy if its memory cannot be reserved (web/connections/memory.py).
    """
    limit = int(settings().max_upload_mib * MIB)
    reservation = Reservation(request.scope)
    reservation.check(min(int(request.headers.get("content-length") or 0), limit))
    try:
        yield await _read(request, reservation, limit)
    finally:
        reservation.release()


async def _read(request: Request, reservation: Reservation, limit: int) -> bytes:
    data = bytearray()
    received, give_up_at = 0, time.monotonic() + DISCARD_S
    reservation.start_waiting()
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received <= limit:
                reservation.progressed(len(chunk))
                if not reservation.grow(len(chunk)):
                    raise out_of_memory()
                data += chunk
            elif received > DISCARD_BYTES or time.monotonic() > give_up_at:
                break
    except ClientDisconnect as error:
        raise JobError("the client has disconnected", code="disconnected", status=499) from error
    reservation.stop_waiting()
    if received > limit:
        raise BadInput(
            f"the file is larger than {limit / MIB:g} MiB",
            code="too_large",
            status=413,
            hint="Send a smaller one: models use at most 2048 pixels on the longest side.",
        )
    return bytes(data)
