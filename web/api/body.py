"""Reads a request's body into memory, bounded per request and per process.

Whatever form a client sends a photo in, one copy of its bytes is kept, and reserved while it is.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache

from starlette.requests import ClientDisconnect, Request

from tasks.errors import BadInput, JobError
from tasks.settings import MIB, settings
from web.api.form_reader import FormReader
from web.api.json_reader import JsonReader
from web.api.received import RawReader, Reader, Received, too_large
from web.connections.memory import Reservation, out_of_memory
from web.middleware.validation import HEAD

DISCARD_BYTES = 128 * MIB
DISCARD_S = 20.0


@asynccontextmanager
async def body_of(request: Request) -> AsyncIterator[Received]:
    """The whole body: raw bytes, a form or JSON, as its Content-Type says.

    Its memory is reserved while it arrives, and until the context ends.

    Raises BadInput (413, 422) for a body that is too large or broken, but first reads and discards
    the rest of it (up to DISCARD_BYTES and DISCARD_S): a client that is still sending would not
    read an earlier answer. Raises Busy if its memory cannot be reserved.
    """
    limit = int(settings().max_upload_mib * MIB)
    head = request.scope[HEAD]
    reader = _reader(head.get(b"content-type", b""), limit)
    reservation = Reservation(request.scope)
    reservation.check(min(int(head.get(b"content-length", 0)), limit))
    try:
        yield await _read(request, reservation, reader, limit)
    finally:
        reservation.release()


@lru_cache(maxsize=256)
def kind_of(content_type: bytes) -> bytes:
    """The media type without its parameters, in lower case."""
    return content_type.partition(b";")[0].strip().lower()


def _reader(content_type: bytes, limit: int) -> Reader:
    kind = kind_of(content_type)
    if kind == b"multipart/form-data":
        return FormReader(content_type, limit)
    if kind == b"application/json" or kind.endswith(b"+json"):
        return JsonReader(limit)
    return RawReader(limit)


async def _read(request: Request, reservation: Reservation, reader: Reader, limit: int) -> Received:
    received, give_up_at = 0, time.monotonic() + DISCARD_S
    refusal: BadInput | None = None
    reservation.start_waiting()
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > reader.max_bytes:
                refusal = refusal or too_large(limit)
            if refusal is None:
                reservation.progressed(len(chunk))
                refusal = _take(chunk, reservation, reader)
            elif received > DISCARD_BYTES or time.monotonic() > give_up_at:
                break
    except ClientDisconnect as error:
        raise JobError("the client has disconnected", code="disconnected", status=499) from error
    reservation.stop_waiting()
    if refusal:
        raise refusal
    return reader.end()


def _take(chunk: bytes, reservation: Reservation, reader: Reader) -> BadInput | None:
    """Reserve and keep a chunk; why it cannot be used, if so. Raises Busy without memory for it."""
    if not reservation.grow(len(chunk)):
        raise out_of_memory()
    try:
        used = reader.write(chunk)
    except BadInput as error:
        return error
    if used < len(chunk):
        reservation.shrink(len(chunk) - used)
    return None
