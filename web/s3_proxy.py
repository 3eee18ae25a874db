"""Serves `/<bucket>/...` on the page's own origin: signed S3 requests are forwarded unchanged.

A browser on another machine then needs one port only. S3 checks the signature; cookies are not
forwarded. What a slow client sends or reads is buffered as far as the memory budget allows
(web/connections/memory.py), so that connections to S3 do not wait for clients. In production nginx
does this work instead.
"""

from collections.abc import AsyncIterator, Callable
from functools import partial
from math import inf
from time import monotonic

import httpx
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from storage.errors import StorageDown
from storage.s3.asynchronous import Watch
from tasks.errors import BadInput, JobError, Unavailable
from tasks.settings import MIB, settings
from web.connections.memory import Reservation
from web.connections.shares import FairSemaphore
from web.errors import error_response
from web.jobs import counters
from web.jobs.admission import Busy
from web.middleware.validation import OBJECT_KEY, matches
from web.s3_transfers import PART, Answer, Upload

log = structlog.get_logger()

REQUEST_HEADERS = frozenset(
    {"content-type", "content-length", "range", "if-match", "if-none-match"}
)
"""The client's headers that are forwarded to S3."""

TRANSFERS = 128
"""Connections to S3 for uploads, and as many for downloads, whose bytes are buffered in memory.
Uploads and downloads do not wait for each other, and neither waits for a client."""
STREAMS = 64
"""Connections to S3 for transfers that could not be buffered; their clients may be slow."""
TRANSFER_WAIT_S = 10.0
"""How long a request waits for a free connection to S3."""
UNRESERVED_BYTES = 2 * PART
"""An answer up to this size needs no reservation: its connection may buffer as much anyway."""


class S3Proxy:
    """Streams requests to S3 and S3's answers back."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._uploads, self._downloads = FairSemaphore(TRANSFERS), FairSemaphore(TRANSFERS)
        self._streams = FairSemaphore(STREAMS)
        # As many connections as slots, so that a request with a slot waits for no other.
        total = 2 * TRANSFERS + STREAMS
        limits = httpx.Limits(max_connections=total, max_keepalive_connections=32)
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(30, connect=1), limits=limits)

    async def close(self) -> None:
        """Close idle connections."""
        await self._client.aclose()

    async def forward(self, request: Request) -> Response:
        """The answer to a PUT, GET or HEAD of a signed URL."""
        if b"X-Amz-Signature=" not in request.scope["query_string"] or not _is_object(request):
            return error_response(
                BadInput("this address is not signed", code="not_signed", status=403)
            )
        declared = int(request.headers.get("content-length") or 0)
        if declared > settings().max_upload_mib * MIB:
            limit = f"{settings().max_upload_mib:g} MiB"
            return error_response(BadInput(f"larger than {limit}", code="too_large", status=413))
        try:
            if request.method == "PUT":
                return await self._upload(request)
            return await self._download(request)
        except (httpx.HTTPError, StorageDown) as error:
            log.warning("S3 unavailable", reason=str(error))
            return error_response(
                Unavailable("S3 did not answer", hint="Try again in a few seconds.")
            )
        except ClientDisconnect:
            return error_response(
                JobError("the client disconnected", code="disconnected", status=499)
            )
        except Busy as error:
            return error_response(error)

    async def _upload(self, request: Request) -> Response:
        reservation = Reservation(request.scope)
        try:
            upload = Upload(request, reservation)
            await upload.read_ahead()
            semaphore, timeout_s = (
                (self._uploads, TRANSFER_WAIT_S) if upload.is_complete else (self._streams, 0)
            )
            release = await _acquire(semaphore, reservation.client, timeout_s)
            answer = await self._send(request, release, upload)
            return Answer(answer, reservation, release, is_buffered=False)
        finally:
            reservation.release()

    async def _download(self, request: Request) -> Response:
        """Read as fast as S3 sends if there is memory for it, else as fast as the client reads."""
        reservation = Reservation(request.scope)
        release = await _acquire(self._downloads, reservation.client, TRANSFER_WAIT_S)
        answer = await self._send(request, release, None)
        size = int(answer.headers.get("content-length", 0)) if request.method == "GET" else 0
        if size <= UNRESERVED_BYTES or reservation.grow(size):
            return Answer(answer, reservation, release, is_buffered=size > 0)
        release()
        try:
            release = await _acquire(self._streams, reservation.client, 0)
        except BaseException:
            await answer.aclose()
            raise
        return Answer(answer, reservation, release, is_buffered=False)

    async def _send(
        self, request: Request, release: Callable[[], None], upload: Upload | None
    ) -> httpx.Response:
        """S3's answer, its body unread; calls `release` if there is none."""
        try:
            answer = await self._send_watched(request, upload)
            await _check(answer)
        except BaseException:
            release()
            raise
        return answer

    async def _send_watched(self, request: Request, upload: Upload | None) -> httpx.Response:
        """As `_send`; the time in which a slow client sends does not count against S3."""
        waiting_since = monotonic()

        async def body(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            nonlocal waiting_since
            async for chunk in chunks:
                waiting_since = monotonic()
                yield chunk
                waiting_since = inf
            waiting_since = monotonic()

        forwarded = self._forwarded(request, body(upload.chunks()) if upload else None)
        send = partial(self._client.send, forwarded, stream=True)
        return await self._watch.over(send, lambda: waiting_since)

    def _forwarded(self, request: Request, body: AsyncIterator[bytes] | None) -> httpx.Request:
        path = request.scope["raw_path"].split(b"?")[0].decode("ascii")
        query = request.scope["query_string"].decode("ascii")
        headers = {k: v for k, v in request.headers.items() if k in REQUEST_HEADERS}
        if body is None:
            headers.pop("content-length", None)
        # The Host is part of the signature: S3 must see the one that the browser used.
        headers["host"] = request.headers["host"]
        headers["accept-encoding"] = "identity"
        url = httpx.URL(f"{settings().s3_url.rstrip('/')}{path}?{query}")
        return self._client.build_request(request.method, url, headers=headers, content=body)


def _is_object(request: Request) -> bool:
    """Whether the URL names an object as we sign them; other S3 operations are not forwarded."""
    return matches(OBJECT_KEY, request.path_params["key"])


async def _check(answer: httpx.Response) -> None:
    """Raises StorageDown if S3 failed, say because its disk is full; its text is only logged."""
    if answer.status_code < 500:
        return
    try:
        text = (await answer.aread())[:300].decode(errors="replace")
    finally:
        await answer.aclose()
    raise StorageDown(f"S3 answered {answer.status_code}: {text}")


async def _acquire(semaphore: FairSemaphore, client: str, timeout_s: float) -> Callable[[], None]:
    """Acquire a slot; returns the function that releases it. Raises Busy after `timeout_s`."""
    try:
        await semaphore.acquire(client, timeout_s)
    except TimeoutError:
        raise _too_many_transfers() from None
    return partial(semaphore.release, client)


def _too_many_transfers() -> Busy:
    counters.REFUSED.labels("", "transfers").inc()
    return Busy(
        "too many files are being transferred",
        limit="transfers",
        value=TRANSFERS,
        retry_after_s=5,
    )
