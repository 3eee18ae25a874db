"""Server-sent events: what changes, as it changes, resumable on any web process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from time import monotonic
from typing import Self

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from storage.jobs.snapshots import Snapshot
from tasks.errors import JobError
from web.live.feed import Feed
from web.live.pubsub import LOOK_AGAIN_S

PING_S = 15.0
RETRY = b"retry: 1000\n\n"
PING = b": ping\n\n"

Describe = Callable[[Snapshot], bytes]
"""The job as JSON."""


class EventStream(Response):
    """Sends chunks until they end or the client leaves; whoever makes them is then closed.

    A ping goes out when nothing else has for PING_S: `chunks` must yield every LOOK_AGAIN_S, an
    empty chunk if there is nothing to say.
    """

    media_type = "text/event-stream"

    def __init__(self, first: bytes, chunks: AsyncIterator[bytes]) -> None:
        headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._first, self._chunks = RETRY + first, chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start the answer, then send and watch the client at once."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        async with aclosing(self._chunks):  # type: ignore[type-var]  # all can be closed
            await send(start)
            sending = asyncio.create_task(self._send(send))
            try:
                while (await receive())["type"] != "http.disconnect":  # also said once all is sent
                    pass
            finally:
                sending.cancel()
                with suppress(asyncio.CancelledError):
                    await sending

    async def _send(self, send: Send) -> None:
        try:
            await self._send_chunks(send)
        finally:
            await send({"type": "http.response.body", "body": b""})

    async def _send_chunks(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": self._first, "more_body": True})
        sent_s = monotonic()
        async for chunk in self._chunks:
            now_s = monotonic()
            if not chunk and now_s - sent_s + LOOK_AGAIN_S > PING_S:
                chunk = PING
            if chunk:
                sent_s = now_s
                await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def of_job(
    views: AsyncIterator[Snapshot], describe: Describe, seen: int
) -> AsyncIterator[bytes]:
    """One job's changes after version `seen`, until it has ended; ids are versions."""
    ahead: int | None = None
    async with aclosing(views) as changes:  # type: ignore[type-var]  # as above
        with suppress(JobError):  # deleted meanwhile
            async for view in changes:
                has_moved = ahead not in (None, view.ahead) and view.version == seen  # in the queue
                yield _job_event(view, describe) if view.version > seen or has_moved else b""
                seen, ahead = max(view.version, seen), view.ahead


class OfUser:
    """The changes of all jobs of a user, for ever; ids are times."""

    def __init__(self, news: Feed, describe: Describe) -> None:
        self._news, self._describe = news, describe

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        now = await anext(self._news)
        cursor = b"%.3f" % now.cursor_ms
        said = [_event(cursor, self._describe(view)) for view in now.views]
        for job_id in now.gone:
            said.append(b"event: gone\n" + _event(cursor, orjson.dumps({"id": job_id})))
        return b"".join(said)

    async def aclose(self) -> None:
        """Hear no more."""
        await self._news.aclose()


def _job_event(view: Snapshot, describe: Describe) -> bytes:
    return _event(b"%d" % view.version, describe(view))


def _event(name: bytes, data: bytes) -> bytes:
    return b"id: %b\ndata: %b\n\n" % (name, data)
