"""The page's own origin serves `/<bucket>/...`: signed S3 addresses, streamed through unchanged.

So a browser on another machine needs one port only. S3 checks the signature; no cookie goes on.
Between a slow client and S3 there is memory, as far as there is room (memory.py): S3 and
our connections to it wait for no client. In production nginx does this instead.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from math import inf
from time import monotonic

import httpx
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from storage.errors import StorageDown
from storage.s3.asynchronous import Watch
from tasks.errors import BadInput, JobError, Unavailable
from tasks.settings import MIB, settings
from web.connections.memory import Holding, no_room
from web.connections.shares import Slots
from web.errors import error_response
from web.jobs import counters
from web.jobs.admission import Busy
from web.middleware.validation import OBJECT_KEY, is_form

log = structlog.get_logger()

SENT_ON = frozenset({"content-type", "content-length", "range", "if-match", "if-none-match"})
SENT_BACK = frozenset(
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


TRANSFERS = 128
"""Connections to S3 for uploads, and as many for downloads: neither waits for the other, nor for a
client, as what they move is in memory."""
STREAMS = 64
"""Connections to S3 for what is not, as there was no room: their clients may be slow."""
TRANSFER_WAIT_S = 10.0
"""How long a request waits for one of them."""
FIRST_BYTES = 65_536
"""Of an upload, so many are here before S3 is asked, even where there is no room for more: one that
does not come costs S3 nothing."""
PART = 65_536
"""Bytes that are passed on at a time."""
SMALL = 2 * PART
"""What is no larger needs no room: so much of any answer may wait in its connection to be sent."""


class S3Proxy:
    """Streams one request to S3 and its answer back."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._up, self._down, self._streams = Slots(TRANSFERS), Slots(TRANSFERS), Slots(STREAMS)
        # As many connections as slots: who has one waits for no other.
        most = 2 * TRANSFERS + STREAMS
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=32)
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(30, connect=1), limits=limits)

    async def close(self) -> None:
        """Close idle connections."""
        await self._client.aclose()

    async def forward(self, request: Request) -> Response:
        """PUT, GET or HEAD of a signed address."""
        if b"X-Amz-Signature=" not in request.scope["query_string"] or not _is_ours(request):
            return error_response(
                BadInput("this address is not signed", code="not_signed", status=403)
            )
        declared = int(request.headers.get("content-length") or 0)
        if declared > settings().max_upload_mib * MIB:
            limit = f"{settings().max_upload_mib:g} MiB"
            return error_response(BadInput(f"larger than {limit}", code="too_large", status=413))
        try:
            return await self._transferred(request)
        except (httpx.HTTPError, StorageDown) as error:
            log.warning("S3 away", reason=str(error))
            return error_response(
                Unavailable("S3 did not answer", hint="Try again in a few seconds.")
            )
        except ClientDisconnect:
            return error_response(JobError("the client went away", code="disconnected", status=499))
        except Busy as error:
            return error_response(error)

    async def _transferred(self, request: Request) -> Response:
        holding = Holding(request.scope)
        if request.method != "PUT":
            return await self._downloaded(request, holding)
        try:
            upload = _Upload(request, holding)
            await upload.begin()
            slots, limit_s = (self._up, TRANSFER_WAIT_S) if upload.is_whole else (self._streams, 0)
            give = await _slot(slots, holding.owner, limit_s)
            return _Transfer(await self._asked(request, give, upload), holding, give, is_kept=False)
        finally:
            holding.release()

    async def _downloaded(self, request: Request, holding: Holding) -> Response:
        """Read as fast as S3 says it; where there is no room, as the client can."""
        give = await _slot(self._down, holding.owner, TRANSFER_WAIT_S)
        answer = await self._asked(request, give, None)
        size = int(answer.headers.get("content-length", 0)) if request.method == "GET" else 0
        if size <= SMALL or holding.take(size):
            return _Transfer(answer, holding, give, is_kept=size > 0)
        give()
        try:
            give = await _slot(self._streams, holding.owner, 0)
        except BaseException:
            await answer.aclose()
            raise
        return _Transfer(answer, holding, give, is_kept=False)

    async def _asked(
        self, request: Request, give: Callable[[], None], upload: "_Upload | None"
    ) -> httpx.Response:
        try:
            answer = await self._answered(request, upload)
            await _check(answer)
        except BaseException:
            give()
            raise
        return answer

    async def _answered(self, request: Request, upload: "_Upload | None") -> httpx.Response:
        """S3's answer, its body unread. While a slow client sends, S3 is not waited for."""
        waiting_since = monotonic()

        async def body(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            nonlocal waiting_since
            async for chunk in chunks:
                waiting_since = monotonic()
                yield chunk
                waiting_since = inf
            waiting_since = monotonic()

        onward = self._onward(request, body(upload.chunks()) if upload else None)
        send = partial(self._client.send, onward, stream=True)
        return await self._watch.over(send, lambda: waiting_since)

    def _onward(self, request: Request, body: AsyncIterator[bytes] | None) -> httpx.Request:
        path = request.scope["raw_path"].split(b"?")[0].decode("ascii")
        query = request.scope["query_string"].decode("ascii")
        headers = {k: v for k, v in request.headers.items() if k in SENT_ON}
        if body is None:
            headers.pop("content-length", None)
        # The Host is part of the signature: S3 must see the one that the browser saw.
        headers["host"] = request.headers["host"]
        headers["accept-encoding"] = "identity"
        url = httpx.URL(f"{settings().s3_url.rstrip('/')}{path}?{query}")
        return self._client.build_request(request.method, url, headers=headers, content=body)


def _is_ours(request: Request) -> bool:
    """Whether the address is of an object as we sign them: no other operation passes here."""
    return is_form(OBJECT_KEY, request.path_params["key"])


async def _check(answer: httpx.Response) -> None:
    """StorageDown when S3 could not do it, as its disk is full; its words stay here."""
    if answer.status_code < 500:
        return
    try:
        said = (await answer.aread())[:300].decode(errors="replace")
    finally:
        await answer.aclose()
    raise StorageDown(f"S3 answered {answer.status_code}: {said}")


class _Upload:
    """The body of a PUT, as much of it read ahead as there is room for."""

    def __init__(self, request: Request, holding: Holding) -> None:
        self._stream = aiter(request.stream())
        self._holding, self._first = holding, list[bytes]()
        self.is_whole = False
        """Whether all of it is here."""

    async def begin(self) -> None:
        """Return once all of it is here, or what there is room for. Busy: not even FIRST_BYTES."""
        holding = self._holding
        holding.wait()
        async for chunk in self._stream:
            self._first.append(chunk)
            holding.moved(len(chunk))
            if chunk and not holding.take(len(chunk)):
                if holding.held < FIRST_BYTES:
                    raise no_room()
                return
        holding.settle()
        self.is_whole = True

    async def chunks(self) -> AsyncIterator[bytes]:
        """All of it."""
        for chunk in self._first:
            if chunk:
                yield chunk
        async for chunk in self._stream:
            self._holding.moved(len(chunk))
            yield chunk


class _Transfer(StreamingResponse):
    """S3's answer, passed on; `on_end` is called once S3 has said all of it, or is not asked on.

    It is kept in memory as fast as S3 says it, however slow the client reads, or not kept at all.
    """

    def __init__(
        self,
        answer: httpx.Response,
        holding: Holding,
        on_end: Callable[[], None],
        *,
        is_kept: bool,
    ) -> None:
        headers = {k: v for k, v in answer.headers.items() if k in SENT_BACK}
        headers["cache-control"] = "private, max-age=300"
        # rclone answers a Range rightly but calls it 200.
        status = 206 if "content-range" in headers else answer.status_code
        self._reading: asyncio.Task[None] | None = None
        super().__init__(self._kept() if is_kept else self._parts(), status, headers)
        self._answer, self._holding, self._on_end = answer, holding, on_end
        self._is_open = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._reading:
                self._reading.cancel()
                await asyncio.gather(self._reading, return_exceptions=True)
            await self._close()  # again, if reading was called off before it had begun
            self._holding.release()

    async def _parts(self) -> AsyncIterator[bytes]:
        async for part in self._answer.aiter_raw(PART):
            yield part

    async def _kept(self) -> AsyncIterator[bytes]:
        """The parts that are read ahead; each is given back as it leaves."""
        parts: asyncio.Queue[bytes] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read(parts))
        while part := await parts.get():
            yield part
            self._holding.moved(len(part))
            self._holding.give(len(part))
        await self._reading

    async def _read(self, parts: asyncio.Queue[bytes]) -> None:
        try:
            async for part in self._answer.aiter_raw(PART):
                parts.put_nowait(part)
            self._holding.wait()
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


async def _slot(slots: Slots, owner: str, limit_s: float) -> Callable[[], None]:
    """Take one; what gives it back. Busy if there is none in so long."""
    try:
        await slots.take(owner, limit_s)
    except TimeoutError:
        raise _crowded() from None
    return partial(slots.give, owner)


def _crowded() -> Busy:
    counters.REFUSED.labels("", "transfers").inc()
    return Busy(
        "too many files are on their way", limit="transfers", value=TRANSFERS, retry_after_s=5
    )
