"""Clients that take their time, each kind as raw bytes on a socket: for tests and benches."""

import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from stack import API_KEY, Stack

from storage.s3.objects import S3Objects

BIG = 25 * 2**20
"""Largest upload, in bytes."""
PART = 100
"""Bytes of a body that come, of BIG."""
RESULT = 3 * 2**19
"""Bytes of the object that slow readers ask for: a large result."""
LONG = 6 * 2**20
"""Of another, larger than what kernels keep for them by themselves; many have not room at once."""
RESULT_KEY, LONG_KEY, PICTURE_KEY = "in/idle/result", "in/idle/long", "in/idle/picture"
PICTURE = bytes(100_000)
KEEP_ALIVE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Half: "


@dataclass(frozen=True)
class Kinds:
    """What each kind of idle client sends before it falls silent."""

    host: str
    put: str
    """Address that is signed for an upload."""
    result: str
    """Address that is signed for an object of RESULT bytes."""
    long: str
    """The same, of LONG bytes."""
    picture: str
    """Address that is signed for an object that is PICTURE."""
    model: str = "toy"
    """Asked for by bodies that never come whole."""

    def sent(self, kind: str) -> bytes:
        """The bytes of a kind."""
        return {
            "silent": b"",
            "half headers": HALF,
            "idle body": self._request("POST", f"/api/v1/predict/{self.model}", BIG) + b"x" * PART,
            "idle PUT": self._request("PUT", _target(self.put), BIG, "image/jpeg") + b"x" * PART,
            "slow reader": self._request("GET", _target(self.result)),
            "slow reader, 6 MiB": self._request("GET", _target(self.long)),
            "keep-alive": KEEP_ALIVE,
            "events": self._request("GET", "/api/v1/events"),
        }[kind]

    def _request(self, method: str, target: str, length: int = 0, type_: str = "") -> bytes:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}"]
        if target.startswith("/api/"):
            lines.append(f"Authorization: Bearer {API_KEY}")
        if length:
            lines.append(f"Content-Length: {length}")
        if type_:
            lines.append(f"Content-Type: {type_}")
        return "\r\n".join([*lines, "", ""]).encode()


def _target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


KINDS = (
    "silent", "half headers", "idle body", "idle PUT", "slow reader", "slow reader, 6 MiB",
    "keep-alive", "events",
)  # fmt: skip


def kinds(stack: Stack, model: str = "toy") -> Kinds:
    """Their bytes for this installation; puts the objects that are asked for."""
    host = urlsplit(stack.url).netloc
    env = stack.env
    s3 = S3Objects(
        env["PIXELMILL_S3_URL"], key=env["PIXELMILL_S3_KEY"], secret=env["PIXELMILL_S3_SECRET"],
        bucket="pixelmill", region="us-east-1",
    )  # fmt: skip
    held = {RESULT_KEY: bytes(RESULT), LONG_KEY: bytes(LONG), PICTURE_KEY: PICTURE}
    for key, data in held.items():
        s3.put(key, data, "image/png")
    signed = (s3.presign_get(key, stack.url, "image/png") for key in held)
    return Kinds(host, place(stack, BIG), *signed, model)


def place(stack: Stack, size: int) -> str:
    """An address to PUT so many bytes of JPEG to."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    asked = {"size": size, "type": "image/jpeg"}
    answer = httpx.post(f"{stack.url}/api/v1/uploads", json=asked, headers=headers)
    return str(answer.json()["upload"]["url"])


def connect(url: str, source: str = "127.0.0.1", *, receive_bytes: int = 4096) -> socket.socket:
    """A connection from a loopback address, with a small buffer, so that not reading is felt."""
    parts = urlsplit(url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.bind((source, 0))
    connection.settimeout(10)
    connection.connect((parts.hostname, parts.port))
    return connection


@contextmanager
def crowd(
    url: str, sent: bytes, number: int, sources: Sequence[str], *, row: int = 0
) -> Iterator[list[socket.socket]]:
    """So many connections that have sent this, from these addresses in turns.

    They come in rows if asked to: the next once one of the last has been answered, or after 0.5 s.
    """
    sockets: list[socket.socket] = []
    try:
        for index in range(number):
            connection = connect(url, sources[index % len(sources)])
            sockets.append(connection)
            connection.sendall(sent)
            if row and index % row == 0:
                select.select([connection], [], [], 0.5)
        yield sockets
    finally:
        for connection in sockets:
            connection.close()


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has ended it; reads what is there."""
    try:
        while select.select([connection], [], [], 0)[0]:
            if not connection.recv(65_536):
                return True
    except (ConnectionError, OSError):
        return True
    return False


def rest_of(connection: socket.socket, limit_s: float) -> bytes | None:
    """What still comes until the other side ends it; None if it does not in so long."""
    data, end = b"", time.monotonic() + limit_s
    with suppress(ConnectionError):
        while (left_s := end - time.monotonic()) > 0:
            if select.select([connection], [], [], left_s)[0]:
                chunk = connection.recv(65_536)
                if not chunk:
                    return data
                data += chunk
        return None
    return data


def wait_until(is_so: Callable[[], bool], limit_s: float) -> bool:
    """Whether it became so in time."""
    end = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
