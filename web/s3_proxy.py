"""Serves `/<bucket>/...` on the page's own origin: signed S3 requests are forwarded unchanged.

A browser on another machine then needs one port only. S3 checks the signature; cookies are not
forwarded. What a slow client sends or reads is buffered as far as the memory budget allows
(web/connections/memory.py), so that connections to S3 do not wait for clients. In production nginx
does this work instead.
"""

import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from functools import partial
from math import inf
from time import monotonic
from typing import Any

import httpx
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

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
from web.s3_transfers import PART, Answer, Upload, forwarded_headers

log = structlog.get_logger()

Build = Callable[[AsyncIterator[bytes] | None], httpx.Request]
"""Makes a request of S3 with this body."""

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

    def __init__(self, watch: Watch, trusted: ssl.SSLContext | None = None) -> None:
        """`trusted`: whose certificates S3 may have; see storage/s3/certificates.py."""
        self._watch = watch
        self._uploads, self._downloads = FairSemaphore(TRANSFERS), FairSemaphore(TRANSFERS)
        self._streams = FairSemaphore(STREAMS)
        # As many connections as slots, so that a request with a slot waits for no other.
        total = 2 * TRANSFERS + STREAMS
        limits = httpx.Limits(max_connections=total, max_keepalive_connections=32)
        timeout = httpx.Timeout(30, connect=1)
        # No proxy of the environment: none of ours that reach S3 asks one.
        self._client = httpx.AsyncClient(
            timeout=timeout, limits=limits, trust_env=False, verify=trusted or True
        )

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
        if declared > settings().largest_upload_bytes:
            limit = f"{settings().largest_upload_bytes / MIB:g} MiB"
            return error_response(BadInput(f"larger than {limit}", code="too_large", status=413))
        if request.method == "PUT":
            return await _answered(self._upload(request))
        forwarded = self._forwarded(request, None)
        is_head = request.method == "HEAD"
        return await _answered(self._download(request.scope, forwarded, is_head=is_head))

    async def picture(self, request: Request, url: str, headers: Mapping[str, str]) -> Response:
        """An object of ours as the answer to another request, with these headers.

        `url` is signed for S3's own address. Raises BadInput (404) if the object is gone.
        """
        asked = self._client.build_request("GET", url, headers={"accept-encoding": "identity"})
        return await _answered(self._download(request.scope, asked, own_headers=headers))

    async def _upload(self, request: Request) -> Response:
        reservation = Reservation(request.scope)
        try:
            upload = Upload(request, reservation)
            await upload.read_ahead()
            semaphore, timeout_s = (
                (self._uploads, TRANSFER_WAIT_S) if upload.is_complete else (self._streams, 0)
            )
            release = await _acquire(semaphore, reservation.client, timeout_s)
            answer = await self._send(partial(self._forwarded, request), release, upload)
            return Answer(answer, reservation, release, is_buffered=False)
        finally:
            reservation.release()

    async def _download(
        self,
        scope: Scope,
        forwarded: httpx.Request,
        *,
        is_head: bool = False,
        own_headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Read as fast as S3 sends if there is memory for it, else as fast as the client reads."""
        reservation = Reservation(scope)
        release = await _acquire(self._downloads, reservation.client, TRANSFER_WAIT_S)
        answer = await self._send(lambda _: forwarded, release, None)
        if is_head or (own_headers is not None and answer.status_code != 200):
            return await _without_body(answer, release, is_head)
        size = int(answer.headers.get("content-length", 0))
        as_answer = partial(Answer, answer, reservation, own_headers=own_headers)
        if size <= UNRESERVED_BYTES or reservation.grow(size):
            return as_answer(release, is_buffered=size > 0)
        release()
        try:
            release = await _acquire(self._streams, reservation.client, 0)
        except BaseException:
            await answer.aclose()
            raise
        return as_answer(release, is_buffered=False)

    async def _send(
        self, build: Build, release: Callable[[], None], upload: Upload | None
    ) -> httpx.Response:
        """S3's answer, its body unread; calls `release` if there is none."""
        try:
            answer = await self._send_watched(build, upload)
            await _check(answer)
        except BaseException:
            release()
            raise
        return answer

    async def _send_watched(self, build: Build, upload: Upload | None) -> httpx.Response:
        """As `_send`; the time in which a slow client sends does not count against S3."""
        waiting_since = monotonic()

        async def body(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            nonlocal waiting_since
            async for chunk in chunks:
                waiting_since = monotonic()
                yield chunk
                waiting_since = inf
            waiting_since = monotonic()

        forwarded = build(body(upload.chunks()) if upload else None)
        answers: list[httpx.Response] = []

        async def send() -> httpx.Response:
            answers.append(await self._client.send(forwarded, stream=True))
            return answers[0]

        try:
            return await self._watch.over(send, lambda: waiting_since)
        except BaseException:
            for answer in answers:  # it came in the moment in which nobody waited for it any more
                await answer.aclose()
            raise

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
        # An address is signed for GET; HEAD is answered by it too, without what it would read.
        method = "GET" if request.method == "HEAD" else request.method
        return self._client.build_request(method, url, headers=headers, content=body)


def _is_object(request: Request) -> bool:
    """Whether the URL names an object as we sign them; other S3 operations are not forwarded."""
    return matches(OBJECT_KEY, request.path_params["key"])


async def _answered(answering: Coroutine[Any, Any, Response]) -> Response:
    """The answer, or the error's."""
    try:
        return await answering
    except (httpx.HTTPError, StorageDown) as error:
        log.warning("S3 unavailable", reason=str(error))
        return error_response(Unavailable("S3 did not answer", hint="Try again in a few seconds."))
    except ClientDisconnect:
        return error_response(JobError("the client disconnected", code="disconnected", status=499))
    except Busy as error:
        return error_response(error)


async def _without_body(
    answer: httpx.Response, release: Callable[[], None], is_head: bool
) -> Response:
    """The headers of S3's answer. Raises BadInput (404) for an object that is not there."""
    try:
        await answer.aclose()
    finally:
        release()
    if is_head:
        return Response(status_code=answer.status_code, headers=forwarded_headers(answer))
    log.warning("S3 refused", status=answer.status_code)
    raise BadInput(
        "the picture is no longer stored",
        code="no_object",
        status=404,
        hint="Send the photo again, to have it made anew.",
    )


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
