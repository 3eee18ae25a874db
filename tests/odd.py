"""Odd requests: text that no honest client sends, on every route, as bytes on the wire.

They are written by hand because clients refuse to send most of them. `answer` sends one and says
what came back.
"""

import asyncio
import json
from collections.abc import Iterator
from urllib.parse import urlsplit

TEXTS: dict[str, bytes] = {
    "a lone surrogate": b"%ED%A0%80",
    "a lone surrogate between digits": b"0123456789abcdef%ED%B0%800123456789abcdef",
    "NUL": b"a%00b",
    "no UTF-8": b"%FF%FE%80",
    "a line break": b"a%0D%0AX-Odd:%201",
    "an escape of a terminal": b"%1B%5B31mred",
    "dot segments": b"..%2F..%2Fetc",
    "dot segments, encoded twice": b"%252e%252e%252f",
    "a very long text": b"a" * 6000,
    "a pattern of Redis": b"*%5B%5E%5D%3F",
    "words of the protocol of Redis": b"%2A3%0D%0A%243%0D%0ASET",
    "half of an escape": b"%E0%A",
    "a right-to-left mark": b"%E2%80%AEgpj.exe",
    "a template": b"%7B%7B7%2A7%7D%7D%24%7Bjndi%7D",
}
"""Name -> percent-encoded text, for paths and queries."""

RAW: dict[str, bytes] = {
    "a lone surrogate": b"\xed\xa0\x80",
    "no UTF-8": b"\xff\xfe\x80",
    "Latin-1": b"caf\xe9",
    "a tab": b"a\tb",
    "a very long text": b"a" * 7000,
    "an escape of a terminal": b"\x1b[31mred",
    "a list": b'a, b; c=d, "e',
}
"""Name -> bytes of a header's value."""

BODIES: dict[str, bytes] = {
    "a lone surrogate as an id": b'{"upload": "\\ud800", "model": "noop"}',
    "a lone surrogate as a model": b'{"upload": "%032d", "model": "\\udfff"}' % 0,
    "NUL as a model": b'{"upload": "%032d", "model": "no\\u0000op"}' % 0,
    "a lone surrogate in a parameter": b'{"sha256": "%064d", "model": "noop", '
    b'"params": {"salt": "\\ud800"}}' % 0,
    "a lone surrogate as a parameter": b'{"sha256": "%064d", "model": "noop", '
    b'"params": {"\\ud800": 1}}' % 0,
    "bytes that are no UTF-8": b'{"model": "\xff\xfe"}',
    "deep lists": b'{"model": "noop", "params": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "no number": b'{"sha256": "%064d", "model": "noop", "deadline_s": NaN}' % 0,
    "infinity": b'{"sha256": "%064d", "model": "noop", "deadline_s": 1e999}' % 0,
    "a very large number": b'{"sha256": "%064d", "model": "noop", "params": {"salt": %s}}'
    % (0, b"9" * 5000),
    "a negative size": b'{"size": -1, "type": "image/jpeg"}',
    "half a document": b'{"model": "noop", "par',
    "a list": b"[1, 2, 3]",
    "nothing": b"",
    "300 KB": json.dumps({"model": "noop", "params": {"x": "y" * 300_000}}).encode(),
}

PATHS = (
    b"/%b",
    b"/api/v1/%b",
    b"/api/v1/jobs/%b",
    b"/api/v1/jobs/%b/events",
    b"/static/%b",
    b"/examples/%b",
    b"/pixelmill/%b",
    b"/pixelmill/in/%b/x?X-Amz-Signature=0",
    b"/ui/%b",
    b"/ui/gradio_api/file=%b",
    b"/metrics/%b",
    b"/login/%b",
    b"/docs/%b",
    b"/healthz/%b",
)
"""Paths with a place for odd text, for GET."""

QUERIES = (
    b"/api/v1/events?jobs=%b",
    b"/api/v1/models?%b",
    b"/readyz?deep=%b",
    b"/ui/?%b",
    b"/metrics?%b",
)

POSTS = (
    b"/api/v1/predict/%b?wait=0",
    b"/api/v1/predict/noop?wait=0&%b=1",
    b"/api/v1/predict/noop?wait=0&output=%b",
    b"/api/v1/predict/noop?wait=%b",
    b"/api/v1/jobs/%b/cancel",
)

HEADERS = (
    b"Cookie",
    b"Authorization",
    b"Idempotency-Key",
    b"Last-Event-ID",
    b"Accept",
    b"Origin",
    b"X-Forwarded-For",
    b"Range",
    b"If-None-Match",
    b"Content-Type",
)

Request = tuple[str, bytes]
"""What is odd about it, and the bytes."""


def requests(url: str, credentials: bytes = b"") -> Iterator[Request]:
    """Every odd request to this server, once; `credentials` is a whole header line or nothing."""
    host = urlsplit(url).netloc.encode()
    head = b"Host: %b\r\nConnection: close\r\n%b" % (host, credentials and credentials + b"\r\n")
    for what, text in TEXTS.items():
        for path in (*PATHS, *QUERIES):
            yield f"{what} in GET {path.decode()}", _bytes(b"GET", path % text, head)
        for path in POSTS:
            yield f"{what} in POST {path.decode()}", _bytes(b"POST", path % text, head, b"x")
        yield f"{what} in DELETE", _bytes(b"DELETE", b"/api/v1/jobs/%b" % text, head)
        yield f"{what} in PUT", _bytes(b"PUT", b"/pixelmill/in/%b" % text, head, b"x")
        form = b"user=%b&password=%b" % (text, text)
        kind = b"Content-Type: application/x-www-form-urlencoded\r\n"
        yield f"{what} in the sign-in", _bytes(b"POST", b"/login", head + kind, form)
    for what, value in RAW.items():
        for name in HEADERS:
            line = b"%b: %b\r\n" % (name, value)
            yield f"{what} in {name.decode()}", _bytes(b"GET", b"/api/v1/models", head + line)
            yield (
                f"{what} in {name.decode()}, POST",
                _bytes(b"POST", b"/api/v1/jobs", head + line, b"{}"),
            )
        yield f"{what} as Host", _bytes(b"GET", b"/api/v1/models", b"Host: %b\r\n" % value)
    for what, body in BODIES.items():
        kind = b"Content-Type: application/json\r\n"
        for path in (b"/api/v1/jobs", b"/api/v1/uploads", b"/ui/gradio_api/queue/join"):
            yield f"{what} to {path.decode()}", _bytes(b"POST", path, head + kind, body)


def _bytes(method: bytes, target: bytes, head: bytes, body: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body) if method != b"GET" else b""
    return b"%b %b HTTP/1.1\r\n%b%b\r\n%b" % (method, target, head, length, body)


async def answer(url: str, request: bytes, seconds: float = 20) -> tuple[int, bytes]:
    """Status and the beginning of the answer; 0 if the server closed the connection unanswered."""
    at = urlsplit(url)
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        try:
            writer.write(request)
            await writer.drain()
            head = await reader.read(65_536)
        except (ConnectionError, BrokenPipeError):
            head = b""
        finally:
            writer.close()
    return (int(head[9:12]) if head.startswith(b"HTTP/1.") else 0), head
