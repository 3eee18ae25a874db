"""Server-sent events: changes as they happen, resumable on any web process."""

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
from web.adapting import IS_HEAD
from web.live.feed import Feed
from web.live.pubsub import RESYNC_S

PING_S = 15.0
RETRY = b"retry: 1000\n\n"
PING = b": ping\n\n"

Render = Callable[[Snapshot], bytes]
"""A job as JSON."""


class EventStream(Response):
    """Sends chunks until they end or the client disconnects, then closes their source.

    A ping is sent when nothing else was for PING_S: `chunks` must yield at least every RESYNC_S, an
    empty chunk if there is nothing to send.
    """

    media_type = "text/event-stream"
    opening, ping = RETRY, PING
    """What a stream begins with, and what is sent after a silence."""

    def __init__(self, first: bytes, chunks: AsyncIterator[bytes]) -> None:
        headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._first, self._chunks = self.opening + first, chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start the answer, then send and wait for the client's disconnect at the same time."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        async with aclosing(self._chunks):  # type: ignore[type-var]  # all sources can be closed
            await send(start)
            if IS_HEAD in scope:
                await send({"type": "http.response.body", "body": b""})
                return
            sending = asyncio.create_task(self._send(send))
            try:
                # The server also reports a disconnect once everything is sent.
                while (await receive())["type"] != "http.disconnect":
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
            if not chunk and now_s - sent_s + RESYNC_S > PING_S:
                chunk = self.ping
            if chunk:
                sent_s = now_s
                await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def job_events(
    job_id: str, snapshots: AsyncIterator[Snapshot], render: Render, seen: int
) -> AsyncIterator[bytes]:
    """One job's changes after version `seen`, until it has ended or is deleted; event ids are
    versions."""
    ahead: int | None = None
    async with aclosing(snapshots) as changes:  # type: ignore[type-var]  # as above
        try:
            async for snapshot in changes:
                has_moved = (
                    ahead not in (None, snapshot.ahead) and snapshot.version == seen
                )  # in the queue
                yield _job_event(snapshot, render) if snapshot.version > seen or has_moved else b""
                seen, ahead = max(snapshot.version, seen), snapshot.ahead
        except JobError:  # it was deleted meanwhile
            yield _gone(b"%d" % seen, job_id)


class UserEvents:
    """The changes of all jobs of a user, without end; event ids are times."""

    def __init__(self, feed: Feed, render: Render) -> None:
        self._feed, self._render = feed, render

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        delta = await anext(self._feed)
        cursor = b"%.3f" % delta.cursor_ms
        events = [_event(cursor, self._render(snapshot)) for snapshot in delta.jobs]
        return b"".join([*events, *(_gone(cursor, job_id) for job_id in delta.gone)])

    async def aclose(self) -> None:
        """Close the feed."""
        await self._feed.aclose()


def _job_event(snapshot: Snapshot, render: Render) -> bytes:
    return _event(b"%d" % snapshot.version, render(snapshot))


def _gone(id: bytes, job_id: str) -> bytes:
    return b"event: gone\n" + _event(id, orjson.dumps({"id": job_id}))


def _event(id: bytes, data: bytes) -> bytes:
    return b"id: %b\ndata: %b\n\n" % (id, data)
