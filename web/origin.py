"""The page's own origin serves `/<bucket>/...`: signed S3 addresses, streamed through unchanged.

So a browser on another machine needs one port only. S3 checks the signature; nothing is buffered,
no cookie goes on. In production nginx does this instead.
"""

from collections.abc import AsyncIterator
from functools import partial
from math import inf
from time import monotonic
from urllib.parse import urlsplit

import httpx
import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from storage.errors import StorageDown
from storage.watch import Watch
from tasks.errors import BadInput, Unavailable
from tasks.settings import MIB, settings
from web.errors import error_response

log = structlog.get_logger()

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
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


def origin_of(request: Request) -> str:
    """The origin for which addresses in this answer are signed.

    Only hosts we answer to: loopback names, the very address the connection came in on, and
    PIXELMILL_PUBLIC_URL. BadInput for any other, so that a forged Host signs nothing.
    """
    if settings().s3_public_url:
        return settings().s3_public_url.rstrip("/")
    host = request.headers.get("host", "")
    public = urlsplit(settings().public_url)
    if public.netloc and host == public.netloc:
        return f"{public.scheme}://{host}"
    name = urlsplit(f"//{host}").hostname or ""
    server = request.scope.get("server") or ("", 0)
    if name in LOOPBACK or (name == server[0] and name):
        return f"http://{host}"
    raise BadInput(
        f"this server does not answer to the name {name!r}",
        code="unknown_host",
        status=421,
        hint="Start it with --public-url (PIXELMILL_PUBLIC_URL) set to the address you type.",
    )


class Passage:
    """Streams one request to S3 and its answer back."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        timeout = httpx.Timeout(30, connect=1)
        limits = httpx.Limits(max_connections=128, max_keepalive_connections=32)
        self._client = httpx.AsyncClient(timeout=timeout, limits=limits)

    async def close(self) -> None:
        """Close idle connections."""
        await self._client.aclose()

    async def forward(self, request: Request) -> Response:
        """PUT, GET or HEAD of a signed address."""
        if b"X-Amz-Signature=" not in request.scope["query_string"]:
            return error_response(
                BadInput("this address is not signed", code="not_signed", status=403)
            )
        declared = int(request.headers.get("content-length") or 0)
        if declared > settings().max_upload_mib * MIB:
            limit = f"{settings().max_upload_mib:g} MiB"
            return error_response(BadInput(f"larger than {limit}", code="too_large", status=413))
        try:
            answer = await self._answered(request)
        except (httpx.HTTPError, StorageDown) as error:
            log.warning("S3 away", reason=str(error))
            return error_response(
                Unavailable("S3 did not answer", hint="Try again in a few seconds.")
            )
        headers = {k: v for k, v in answer.headers.items() if k in SENT_BACK}
        headers["x-content-type-options"] = "nosniff"
        headers["cache-control"] = "private, max-age=300"
        # rclone answers a Range rightly but calls it 200.
        status = 206 if "content-range" in headers else answer.status_code
        return StreamingResponse(_body(answer), status, headers)

    async def _answered(self, request: Request) -> httpx.Response:
        """S3's answer, its body unread. While a slow client sends, S3 is not waited for."""
        waiting_since = monotonic()

        async def body() -> AsyncIterator[bytes]:
            nonlocal waiting_since
            async for chunk in request.stream():
                waiting_since = monotonic()
                yield chunk
                waiting_since = inf
            waiting_since = monotonic()

        onward = self._onward(request, body() if request.method == "PUT" else None)
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


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw(65_536):
            yield chunk
    finally:
        await answer.aclose()
