"""The page's own origin serves `/<bucket>/...`: signed S3 addresses, streamed through unchanged.

So a browser on another machine needs one port only. S3 checks the signature; nothing is buffered,
no cookie goes on. In production nginx does this instead.
"""

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
from storage.watch import Watch
from tasks import counts
from tasks.admission import Busy
from tasks.errors import BadInput, JobError, Unavailable
from tasks.settings import MIB, settings
from web.addresses import client_of
from web.body import Holding
from web.errors import error_response
from web.shares import Slots
from web.validation import OBJECT_KEY, is_form

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
"""Connections to S3 for uploads, and as many for downloads: neither waits for the other."""
TRANSFER_WAIT_S = 10.0
"""How long a request waits for one of them."""
FIRST_BYTES = 65_536
"""Of an upload, so many are here before S3 is asked: one that does not come costs S3 nothing."""


class Passage:
    """Streams one request to S3 and its answer back."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._up, self._down = Slots(TRANSFERS), Slots(TRANSFERS)
        # As many connections as slots: who has one waits for no other.
        limits = httpx.Limits(max_connections=2 * TRANSFERS, max_keepalive_connections=32)
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
        """The answer, which holds one of the slots of its kind until it is sent."""
        owner = client_of(request.scope)
        if request.method != "PUT":
            return await self._in_turn(request, self._down, owner, None)
        holding = Holding(owner)
        try:
            upload = _Upload(request, holding)
            await upload.begin()
            return await self._in_turn(request, self._up, owner, upload)
        finally:
            holding.release()

    async def _in_turn(
        self, request: Request, slots: Slots, owner: str, upload: "_Upload | None"
    ) -> Response:
        try:
            await slots.take(owner, TRANSFER_WAIT_S)
        except TimeoutError:
            raise _crowded() from None
        try:
            answer = await self._answered(request, upload)
            await _check(answer)
        except BaseException:
            slots.give(owner)
            raise
        return _Transfer(answer, partial(slots.give, owner))

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
    """The body of a PUT, its first bytes read ahead."""

    def __init__(self, request: Request, holding: Holding) -> None:
        self._stream = aiter(request.stream())
        self._holding, self._first = holding, bytearray()

    async def begin(self) -> None:
        """Return once FIRST_BYTES are here, or all of it."""
        while len(self._first) < FIRST_BYTES:
            try:
                chunk = await anext(self._stream)
            except StopAsyncIteration:
                return
            self._holding.take(len(chunk))
            self._first += chunk

    async def chunks(self) -> AsyncIterator[bytes]:
        """All of it."""
        if self._first:
            yield bytes(self._first)
        async for chunk in self._stream:
            yield chunk


class _Transfer(StreamingResponse):
    """S3's answer, passed on; `on_end` is called once it has ended, however it did."""

    def __init__(self, answer: httpx.Response, on_end: Callable[[], None]) -> None:
        headers = {k: v for k, v in answer.headers.items() if k in SENT_BACK}
        headers["cache-control"] = "private, max-age=300"
        # rclone answers a Range rightly but calls it 200.
        status = 206 if "content-range" in headers else answer.status_code
        super().__init__(answer.aiter_raw(65_536), status, headers)
        self._answer, self._on_end = answer, on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            try:
                await self._answer.aclose()
            finally:
                self._on_end()


def _crowded() -> Busy:
    counts.REFUSED.labels("", "transfers").inc()
    return Busy(
        "too many files are on their way", limit="transfers", value=TRANSFERS, retry_after_s=5
    )
