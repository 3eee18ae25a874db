"""A closed-loop HTTP client that costs little: raw HTTP/1.1 over asyncio protocols on uvloop."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import uvloop

UNANSWERED = 0
"""Status of a request whose connection was refused or cut off."""


@dataclass(frozen=True)
class Answers:
    """What came of a run of requests."""

    latencies_ms: list[float]
    statuses: dict[int, int]
    seconds: float
    of_status: dict[int, list[float]] = field(default_factory=dict)
    """Status -> latencies in ms (open loop only)."""
    late_ms: list[float] = field(default_factory=list)
    """How long after they were due requests were sent: the client's own share (open loop only)."""

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return len(self.latencies_ms) / self.seconds

    def percentile(self, share: float) -> float:
        """Latency in ms that this share of requests stayed under."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]

    @property
    def p50(self) -> float:
        """Median latency in ms."""
        return statistics.median(self.latencies_ms)


def request(url: str, headers: dict[str, str], body: bytes = b"", method: str = "POST") -> bytes:
    """One request as bytes on the wire."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def closed_loop(
    url: str,
    requests: Iterator[bytes],
    *,
    clients: int,
    seconds: float = 60,
    most: int = 10**9,
    sources: Sequence[str] = ("",),
) -> Answers:
    """`clients` connections that each send the next request when the last is answered.

    They come from the addresses `sources` in turns; "": from any.
    """
    return uvloop.run(_closed_loop(url, requests, clients, seconds, most, sources))


async def _closed_loop(
    url: str,
    requests: Iterator[bytes],
    clients: int,
    seconds: float,
    most: int,
    sources: Sequence[str],
) -> Answers:
    latencies: list[float] = []
    statuses: dict[int, int] = {}
    began = time.perf_counter()
    sent = 0

    def next_request() -> bytes | None:
        nonlocal sent
        if time.perf_counter() - began > seconds or sent >= most:
            return None
        sent += 1
        return next(requests, None)

    def answered(ms: float, status: int) -> None:
        latencies.append(ms)
        statuses[status] = statuses.get(status, 0) + 1

    loop, parts = asyncio.get_running_loop(), urlsplit(url)
    finished = []
    for number in range(clients):
        source = sources[number % len(sources)]
        _, protocol = await loop.create_connection(
            lambda: _Connection(next_request, answered, loop.create_future()),
            parts.hostname,
            parts.port,
            local_addr=(source, 0) if source else None,
        )
        finished.append(protocol.finished)
    await asyncio.gather(*finished)
    return Answers(latencies, statuses, time.perf_counter() - began)


class _Connection(asyncio.Protocol):
    def __init__(
        self,
        next_request: Callable[[], bytes | None],
        answered: Callable[[float, int], None],
        finished: "asyncio.Future[None]",
    ) -> None:
        self.next_request, self.answered, self.finished = next_request, answered, finished
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._send()

    def _send(self) -> None:
        wanted = self.next_request()
        if wanted is None:
            self.transport.close()
            return
        self.began = time.perf_counter()
        self.transport.write(wanted)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        status = _status_of_whole(self.buffer)
        if not status:
            return
        self.buffer = b""
        self.answered((time.perf_counter() - self.began) * 1000, status)
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_result(None)


def open_loop(url: str, requests: Iterator[bytes], *, per_s: float, seconds: float) -> Answers:
    """`per_s` requests a second, whether the earlier ones are answered or not, on as many
    connections as that takes; a latency counts from when its request was due."""
    return uvloop.run(_open_loop(url, requests, per_s, seconds))


async def _open_loop(url: str, requests: Iterator[bytes], per_s: float, seconds: float) -> Answers:
    loop = asyncio.get_running_loop()
    answers = Answers([], {}, seconds)
    free: list[_Line] = []
    sent: list[asyncio.Future[None]] = []

    async def one(due: float) -> None:
        try:
            while free and free[-1].is_closed:  # by the server, as it was idle
                free.pop()
            line = free.pop() if free else await _connected(loop, url)
            answers.late_ms.append((time.perf_counter() - due) * 1000)
            status = await line.ask(next(requests))
            free.append(line)
        except OSError:
            status = UNANSWERED
        ms = (time.perf_counter() - due) * 1000
        answers.latencies_ms.append(ms)
        answers.of_status.setdefault(status, []).append(ms)
        answers.statuses[status] = answers.statuses.get(status, 0) + 1

    began = time.perf_counter()
    for number in range(int(per_s * seconds)):
        due = began + number / per_s
        if (early_s := due - time.perf_counter()) > 0:
            await asyncio.sleep(early_s)
        sent.append(asyncio.ensure_future(one(due)))
    await asyncio.gather(*sent)
    for line in free:
        line.transport.close()
    return answers


async def _connected(loop: asyncio.AbstractEventLoop, url: str) -> "_Line":
    parts = urlsplit(url)
    _, line = await loop.create_connection(_Line, parts.hostname, parts.port)
    return line


class _Line(asyncio.Protocol):
    """A connection on which one request at a time is asked."""

    is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    async def ask(self, request: bytes) -> int:
        """The status of the answer, once all of it is there."""
        self.buffer = b""
        self.answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answer

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        status = _status_of_whole(self.buffer)
        if status and not self.answer.done():
            self.answer.set_result(status)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        if hasattr(self, "answer") and not self.answer.done():
            self.answer.set_exception(error or ConnectionResetError())


def _status_of_whole(buffer: bytes) -> int:
    """The status of an answer; 0 while some of it is missing."""
    head, separator, body = buffer.partition(b"\r\n\r\n")
    if not separator:
        return 0
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    if not length:
        raise ValueError(f"an answer without Content-Length: {head!r}")
    return int(head[9:12]) if len(body) >= int(length) else 0
