"""A closed-loop HTTP client that costs little: raw HTTP/1.1 over asyncio protocols on uvloop."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import uvloop


@dataclass(frozen=True)
class Answers:
    """What came of a run of requests."""

    latencies_ms: list[float]
    statuses: dict[int, int]
    seconds: float

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
    url: str, requests: Iterator[bytes], *, clients: int, seconds: float = 60, most: int = 10**9
) -> Answers:
    """`clients` connections that each send the next request when the last is answered."""
    return uvloop.run(_closed_loop(url, requests, clients, seconds, most))


async def _closed_loop(
    url: str, requests: Iterator[bytes], clients: int, seconds: float, most: int
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
    for _ in range(clients):
        _, protocol = await loop.create_connection(
            lambda: _Connection(next_request, answered, loop.create_future()),
            parts.hostname,
            parts.port,
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
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self.buffer = b""
        self.answered((time.perf_counter() - self.began) * 1000, int(head[9:12]))
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_result(None)
