"""Scripts and styles as small as they get: each is compressed once, as well as Brotli can.

That takes too long for whoever waits for a file, so the first answers have what takes milliseconds,
and the best is made meanwhile in a thread. Browsers that do not take Brotli (over plain http they
do not, except from this machine) get what the application behind this makes for them.
"""

import asyncio
import re

import brotli
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

QUICK, BEST = 4, 11
"""Of Brotli's qualities; for 100 KB of script 3 ms and 0.5 s of CPU, 37 and 32 KB."""
MOST_FILES = 512
LEAST_BYTES = 400
MOST_BYTES = 2**20
"""Of a file: larger ones, which there are not, would be held in memory for nothing."""
_IS_TEXT = re.compile(r"\.(?:js|css)\Z")
_TAKES_BROTLI = re.compile(r"\bbr\b(?!\s*;\s*q=0(?:\.0*)?(?:,|\Z))")


class Compressed:
    """Answers for scripts and styles of `app` with Brotli, and passes all other requests on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._best: dict[str, tuple[str, bytes]] = {}
        self._at_work: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        if scope["type"] != "http" or scope["method"] != "GET" or not _can_shrink(scope):
            await self.app(scope, receive, send)
            return
        plain = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
        answer = _Answer(send)
        await self.app({**scope, "headers": plain}, receive, answer.take)
        if answer.start:
            await self._send(scope["path"], answer.start, bytes(answer.body), send)

    async def _send(self, path: str, start: Message, body: bytes, send: Send) -> None:
        headers = MutableHeaders(scope=start)
        version, best = self._best.get(path, ("", b""))
        if not best or version != headers.get("etag"):
            best = brotli.compress(body, mode=brotli.MODE_TEXT, quality=QUICK)
            self._improve(path, headers.get("etag", ""), body)
        for name in ("accept-ranges", "last-modified"):  # of the file as it is; the etag is enough
            del headers[name]
        headers["content-encoding"] = "br"
        headers["content-length"] = str(len(best))
        headers.add_vary_header("Accept-Encoding")
        await send(start)
        await send({"type": "http.response.body", "body": best})

    def _improve(self, path: str, version: str, body: bytes) -> None:
        """Compress this file as well as can be, unless that is being done."""
        if not version or path in self._at_work or len(self._best) >= MOST_FILES:
            return
        self._at_work.add(path)
        task = asyncio.create_task(self._compress(path, version, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compress(self, path: str, version: str, body: bytes) -> None:
        try:
            best = await asyncio.to_thread(
                brotli.compress, body, mode=brotli.MODE_TEXT, quality=BEST
            )
            self._best[path] = version, best
        finally:
            self._at_work.discard(path)


class _Answer:
    """Collects an answer that can be compressed; any other is passed on as it comes."""

    def __init__(self, send: Send) -> None:
        self.start: Message | None = None
        self.body = bytearray()
        self._send = send

    async def take(self, message: Message) -> None:
        """One message of the application."""
        if message["type"] == "http.response.start" and _is_whole_file(message):
            self.start = message
        elif self.start is None:
            await self._send(message)
        else:
            self.body += message.get("body", b"")


def _can_shrink(scope: Scope) -> bool:
    accepted = Headers(scope=scope).get("accept-encoding", "")
    return bool(_IS_TEXT.search(scope["path"]) and _TAKES_BROTLI.search(accepted))


def _is_whole_file(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    length = headers.get("content-length", "")
    is_fit = length.isdigit() and LEAST_BYTES <= int(length) <= MOST_BYTES
    return bool(start["status"] == 200 and is_fit and "content-encoding" not in headers)
