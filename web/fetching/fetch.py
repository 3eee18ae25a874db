"""Fetches the picture whose address a request names, within this process's memory and slots."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from starlette.types import Scope

from tasks.settings import MIB, settings
from web.connections.memory import Reservation, out_of_memory
from web.connections.shares import FairSemaphore
from web.fetching import targets
from web.fetching.download import Bounds, download
from web.jobs import counters
from web.jobs.admission import Busy

FETCHES = 16
"""Files that one process fetches at a time."""
WAIT_S = 5.0
"""How long a request waits for its turn."""


@asynccontextmanager
async def fetched(scope: Scope, url: str) -> AsyncIterator[bytes]:
    """The file at this address. Its memory is reserved for the request until the context ends.

    Nobody has looked at the bytes yet: the guard must. Raises BadInput: 403 `fetch_off`, 413
    `too_large`, else 422; Busy where too much is fetched already or there is no memory.
    """
    reservation = Reservation(scope)
    try:
        yield await _fetch(url, reservation)
    finally:
        reservation.release()


async def _fetch(url: str, reservation: Reservation) -> bytes:
    def reserve(count: int) -> None:
        reservation.progressed(count)
        if not reservation.grow(count):
            raise out_of_memory()

    rules = targets.rules(settings().fetch_urls, settings().fetch_hosts)
    targets.parse(url, rules)  # refused at once, whatever else is going on
    slots = _slots()
    try:
        await slots.acquire(reservation.client, WAIT_S)
    except TimeoutError:
        raise _too_many() from None
    reservation.start_waiting()  # a server may be as slow as a client, and is treated as one
    limit = int(settings().max_upload_mib * MIB)
    try:
        return await download(url, rules, Bounds(limit, settings().fetch_timeout_s, reserve))
    finally:
        slots.release(reservation.client)
        reservation.stop_waiting()


def _too_many() -> Busy:
    counters.REFUSED.labels("", "fetches").inc()
    return Busy("too many files are being fetched", limit="fetches", value=FETCHES, retry_after_s=5)


@cache
def _slots() -> FairSemaphore:
    return FairSemaphore(FETCHES)
