"""The bodies that the S3 proxy moves, buffered as far as the memory budget allows."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import httpx
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from web.connections.memory import Reservation, out_of_memory
from web.jobs import counters

RESPONSE_HEADERS = frozenset(
    {
        "accept-ranges",
        "content-disposition",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "etag",
        "last-modified",
    }
)
"""The headers of S3's answer that are forwarded to the client."""
FACTS = frozenset({"content-length", "etag"})
"""Those that are true of an object however it is answered."""

FIRST_BYTES = 65_536
"""S3 is asked once so many bytes of an upload have arrived, even if there is no memory for more: an
upload that never comes costs S3 nothing."""
PART = 65_536
"""Bytes that are passed on at a time."""


class Upload:
    """The body of a PUT, read ahead as far as there is memory for it."""

    def __init__(self, request: Request, reservation: Reservation) -> None:
        self._stream = aiter(request.stream())
        self._reservation, self._buffered = reservation, list[bytes]()
        self.is_complete = False
        """Whether the whole body is in memory."""

    async def read_ahead(self) -> None:
        """Read until the body or the memory ends. Raises Busy if FIRST_BYTES do not fit either."""
        reservation = self._reservation
        reservation.start_waiting()
        async for chunk in self._stream:
            self._buffered.append(chunk)
            reservation.progressed(len(chunk))
            if chunk and not reservation.grow(len(chunk)):
                if reservation.held < FIRST_BYTES:
                    raise out_of_memory()
                return
        reservation.stop_waiting()
        self.is_complete = True

    async def chunks(self) -> AsyncIterator[bytes]:
        """The whole body: what is buffered, then the rest as it arrives."""
        for chunk in self._buffered:
            if chunk:
                yield chunk
        async for chunk in self._stream:
            self._reservation.progressed(len(chunk))
            yield chunk


class Answer(StreamingResponse):
    """S3's answer, passed on to the client.

    If `is_buffered`, it is read into memory as fast as S3 sends it, however slow the client is;
    else it is read as the client reads. `on_end` is called once S3 is no longer needed.
    """

    def __init__(
        self,
        answer: httpx.Response,
        reservation: Reservation,
        on_end: Callable[[], None],
        *,
        is_buffered: bool,
        own_headers: Mapping[str, str] | None = None,
    ) -> None:
        """`own_headers` replace those of S3, but for the length and the ETag."""
        headers = forwarded_headers(answer, own_headers)
        # rclone answers a Range request correctly but with status 200.
        status = 206 if "content-range" in headers else answer.status_code
        self._reader: asyncio.Task[None] | None = None
        super().__init__(self._buffered() if is_buffered else self._parts(), status, headers)
        self._answer, self._reservation, self._on_end = answer, reservation, on_end
        self._is_open = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._reader:
                self._reader.cancel()
                await asyncio.gather(self._reader, return_exceptions=True)
            await self._close()  # in case the reader was cancelled before it began
            self._reservation.release()

    async def _parts(self) -> AsyncIterator[bytes]:
        async for part in self._answer.aiter_raw(PART):
            counters.SENT_BYTES.inc(len(part))
            yield part

    async def _buffered(self) -> AsyncIterator[bytes]:
        """The parts that the reader has buffered; the memory of each is returned as it leaves."""
        parts: asyncio.Queue[bytes] = asyncio.Queue()
        self._reader = asyncio.create_task(self._read(parts))
        while part := await parts.get():
            counters.SENT_BYTES.inc(len(part))
            yield part
            self._reservation.progressed(len(part))
            self._reservation.shrink(len(part))
        await self._reader

    async def _read(self, parts: asyncio.Queue[bytes]) -> None:
        try:
            async for part in self._answer.aiter_raw(PART):
                parts.put_nowait(part)
            self._reservation.start_waiting()
        finally:
            parts.put_nowait(b"")
            await self._close()

    async def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            try:
                await self._answer.aclose()
            finally:
                self._on_end()


def forwarded_headers(
    answer: httpx.Response, own_headers: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The headers of the answer to the client."""
    if own_headers is None:
        headers = {k: v for k, v in answer.headers.items() if k in RESPONSE_HEADERS}
        return {**headers, "cache-control": "private, max-age=300"}
    return {**{k: v for k, v in answer.headers.items() if k in FACTS}, **own_headers}
