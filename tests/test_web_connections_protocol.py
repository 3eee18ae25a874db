"""Several requests on one connection, upgrades, and requests that wait."""

import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from stack import API_KEY, Stack

UPGRADE = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
"""As curl and Java's HttpClient send it to an http address."""
HOST = "127.0.0.1"
BODY_MIB = 20
WAITING = 6


@pytest.fixture
def connection(stack: Stack) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, stack.ports["web"])) as connection:
        connection.settimeout(5)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def request(stack: Stack, line: str, headers: str = "") -> bytes:
    return f"{line} HTTP/1.1\r\nHost: {urlsplit(stack.url).netloc}\r\n{headers}\r\n".encode()


def all_of(connection: socket.socket) -> bytes:
    """Everything that is received until the connection is closed."""
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("framing", ["Content-Length: {}\r\n", "Transfer-Encoding: chunked\r\n"])
def test_the_body_of_an_upgrade_is_never_a_request(
    stack: Stack, connection: socket.socket, framing: str
) -> None:
    hidden = request(stack, "GET /healthz")
    framing = framing.format(len(hidden))
    kind = "Content-Type: application/json\r\n"

    connection.sendall(request(stack, "POST /api/v1/jobs", UPGRADE + kind + framing))
    time.sleep(0.2)  # so that it comes in a packet of its own
    connection.sendall(hidden)

    answer = all_of(connection)
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1") == 1
    assert b"another protocol" in answer


def test_an_upgrade_is_answered_in_http_1_and_the_connection_closed(
    stack: Stack, connection: socket.socket
) -> None:
    connection.sendall(request(stack, "GET /healthz", UPGRADE) + request(stack, "GET /healthz"))

    answer = all_of(connection)
    assert answer.startswith(b"HTTP/1.1 200 ") and b"connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_a_body_goes_to_s3_with_uploads_alone(stack: Stack) -> None:
    address = f"{stack.url}/pixelmill/in/x?X-Amz-Signature=1"

    answer = httpx.request("GET", address, json={"any": "thing"})

    assert answer.status_code == 400  # of S3


def test_a_client_that_disconnects_with_pipelined_requests_breaks_none(stack: Stack) -> None:
    log = stack.folder / "web.log"
    before = log.stat().st_size

    for _ in range(5):
        with socket.create_connection((HOST, stack.ports["web"])) as connection:
            connection.setblocking(False)
            connection.send(request(stack, "GET /static/workbench.js") * 300)
            time.sleep(0.1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    time.sleep(1)
    assert "unhandled exception" not in log.read_text()[before:]


def test_a_request_that_waits_for_a_result_holds_no_body_in_memory(
    stack: Stack, photo: bytes
) -> None:
    body = photo + bytes(BODY_MIB * 2**20)
    address = f"{stack.url}/api/v1/predict/slow?device_s=8&salt={time.time_ns()}&wait=30"
    headers = {"Authorization": f"Bearer {API_KEY}"}
    web = psutil.Process(stack.processes["web"].pid)

    def ask(_: int) -> int:
        return httpx.post(address, content=body, headers=headers, timeout=60).status_code

    before_mib = web.memory_info().rss / 2**20
    with ThreadPoolExecutor(WAITING) as clients:
        asked = clients.map(ask, range(WAITING))
        time.sleep(6)
        held_mib = web.memory_info().rss / 2**20 - before_mib
        assert list(asked) == [200] * WAITING
    assert held_mib < WAITING * BODY_MIB / 2
