"""Reads a request's body into memory: bounded per request and per process."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from tasks import counts
from tasks.admission import Busy
from tasks.errors import BadInput, JobError
from tasks.settings import MIB, settings
from web.addresses import client_of
from web.shares import Shares

DISCARD_BYTES = 128 * MIB
DISCARD_S = 20.0
PROCESS_BYTES = 512 * MIB
"""Bodies that one web process holds at a time; beyond that, come back later."""

_shares = Shares(PROCESS_BYTES)


@asynccontextmanager
async def body_of(request: Request) -> AsyncIterator[bytes]:
    """The whole body, counted against the process's memory as it comes, until the context ends.

    Raises BadInput 413 for one above the limit, after reading and discarding it (up to 128 MiB and
    20 s): a client that is still sending could not read an earlier answer. Raises Busy for one that
    has no room: one client address has a share of the memory only (web/shares.py).
    """
    limit = int(settings().max_upload_mib * MIB)
    holding = Holding(client_of(request.scope))
    holding.check(min(int(request.headers.get("content-length") or 0), limit))
    try:
        yield await _read(request, holding, limit)
    finally:
        holding.release()


class Holding:
    """What one request holds of the memory for bodies."""

    def __init__(self, owner: str) -> None:
        self.owner, self._bytes = owner, 0

    def check(self, amount: int) -> None:
        """Raises Busy if there is no room for so many bytes now."""
        if not _shares.has_room(self.owner, amount):
            raise _full()

    def take(self, amount: int) -> None:
        """So many bytes have come. Raises Busy if there is no room for them."""
        self.check(amount)
        _shares.take(self.owner, amount)
        self._bytes += amount

    def release(self) -> None:
        """All of them are gone."""
        _shares.give(self.owner, self._bytes)
        self._bytes = 0


async def _read(request: Request, holding: Holding, limit: int) -> bytes:
    data = bytearray()
    received, give_up_at = 0, time.monotonic() + DISCARD_S
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received <= limit:
                holding.take(len(chunk))
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


def _full() -> Busy:
    counts.REFUSED.labels("", "bodies_mib").inc()
    return Busy(
        f"too many uploads at a time; the limit is {PROCESS_BYTES / MIB:g} MiB",
        limit="bodies_mib",
        value=PROCESS_BYTES / MIB,
        retry_after_s=2,
    )
