"""Clients that take their time, or never stop: a real web process, raw sockets."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest
import slow_clients
from slow_clients import HALF, KEEP_ALIVE, RESULT, Kinds, connect, crowd, is_closed, rest_of
from stack import API_KEY, REPOSITORY, Stack, free_port
from test_web_outage import announce

from web.connections.memory import GRACE_S
from web.connections.protocol import LATE_S

HEADER_S = 2.0
WINDOW_S = 8.0
SLACK_S = 6.0
"""Sweeps are a second apart, and the machine may be busy."""
IDLE_S = 2.0
PER_ADDRESS = 40
MANY = [f"127.0.0.{number}" for number in range(2, 52)]
SETTINGS = {
    "PIXELMILL_HEADER_TIMEOUT_S": str(HEADER_S),
    "PIXELMILL_RATE_WINDOW_S": str(WINDOW_S),
    "PIXELMILL_MAX_CONNECTIONS_PER_ADDRESS": str(PER_ADDRESS),
}
DESCRIPTORS = 600


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers and a web process; workers are announced and do nothing."""
    with Stack(tmp_path_factory.mktemp("slow"), SETTINGS) as mill:
        mill.start_servers()
        mill.start_web()
        stopping = threading.Event()
        announcer = threading.Thread(target=announce, args=(mill, stopping))
        announcer.start()
        try:
            mill.wait_for("web", lambda: [model for model in mill.models() if model["live"]])
            yield mill
        finally:
            stopping.set()
            announcer.join()


@pytest.fixture(scope="module")
def kinds(mill: Stack) -> Kinds:
    return slow_clients.kinds(mill)


@pytest.fixture
def client(mill: Stack) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    with httpx.Client(base_url=mill.url, headers=headers, timeout=15) as client:
        yield client


@dataclass(frozen=True)
class Background:
    """What goes on from the first test of this file: only time can show what becomes of it."""

    began: float
    streams: list[socket.socket]
    """Event streams with nothing to say."""
    unread: socket.socket
    """It has asked for a large file and reads nothing."""
    steady: "Future[bytes | None]"
    """The answer to a body that is slow but steady."""

    def wait(self, seconds: float) -> None:
        """Until it has gone on for so long."""
        time.sleep(max(0.0, self.began + seconds - time.monotonic()))


@pytest.fixture(scope="module", autouse=True)
def background(mill: Stack, kinds: Kinds) -> Iterator[Background]:
    photo = (REPOSITORY / "examples" / "astronaut.jpg").read_bytes()
    with (
        crowd(mill.url, kinds.sent("events"), 30, ["127.0.0.70"]) as streams,
        connect(mill.url, "127.0.0.71") as unread,
        ThreadPoolExecutor(1) as pool,
    ):
        unread.sendall(kinds.sent("slow reader"))
        steady = pool.submit(send_slowly, mill, kinds, photo)
        yield Background(time.monotonic(), streams, unread, steady)


def send_slowly(mill: Stack, kinds: Kinds, photo: bytes) -> bytes | None:
    """The answer to a body that comes with twice the least speed, over many windows."""
    head = (
        f"POST /api/v1/predict/toy?wait=0 HTTP/1.1\r\nHost: {kinds.host}\r\n"
        f"Content-Length: {len(photo)}\r\n"
        f"Authorization: Bearer {API_KEY}\r\nConnection: close\r\n\r\n"
    )
    with connect(mill.url, "127.0.0.72") as client_socket:
        client_socket.sendall(head.encode() + photo[:-40_960])
        for start in range(len(photo) - 40_960, len(photo), 1024):
            time.sleep(0.5)
            client_socket.sendall(photo[start : start + 1024])
        return rest_of(client_socket, SLACK_S)


def predicted(client: httpx.Client, photo: bytes) -> int:
    data = photo + time.time_ns().to_bytes(8, "big")
    return client.post("/api/v1/predict/toy?wait=0", content=data).status_code


def uploaded(mill: Stack, photo: bytes) -> int:
    url = slow_clients.place(mill, len(photo))
    return httpx.put(url, content=photo, headers={"content-type": "image/jpeg"}).status_code


def fetched(kinds: Kinds) -> int:
    return httpx.get(kinds.picture, timeout=15).status_code


@contextmanager
def settled(
    mill: Stack, sent: bytes, number: int, sources: list[str], row: int = 0
) -> Iterator[list[socket.socket]]:
    """A crowd whose arrival the process has digested: what is tested is that it stays."""

    def is_calm() -> bool:
        answer = httpx.get(f"{mill.url}/readyz", timeout=15)  # S3 too has digested it
        return answer.status_code == 200 and answer.elapsed.total_seconds() < 0.3

    with crowd(mill.url, sent, number, sources, row=row) as sockets:
        assert slow_clients.wait_until(lambda: is_calm() and is_calm(), 15)
        yield sockets


def test_a_socket_that_says_nothing_is_closed_without_a_word(mill: Stack) -> None:
    with connect(mill.url) as client_socket:
        assert rest_of(client_socket, HEADER_S + SLACK_S) == b""


def test_headers_that_do_not_end_are_answered_408(mill: Stack) -> None:
    with connect(mill.url) as client_socket:
        client_socket.sendall(HALF)

        answer = rest_of(client_socket, HEADER_S + SLACK_S)

    assert answer and answer.startswith(b"HTTP/1.1 408 ") and b'"too_slow"' in answer


def test_headers_that_drip_get_no_more_time(mill: Stack) -> None:
    with connect(mill.url) as client_socket:
        client_socket.sendall(HALF)
        end = time.monotonic() + HEADER_S + SLACK_S
        with pytest.raises(ConnectionError):
            while time.monotonic() < end:
                client_socket.sendall(b"x")
                time.sleep(0.2)


def test_a_second_request_that_does_not_end_is_closed_too(mill: Stack) -> None:
    with connect(mill.url) as client_socket:
        client_socket.sendall(KEEP_ALIVE)
        assert client_socket.recv(65_536).startswith(b"HTTP/1.1 200 ")
        client_socket.sendall(HALF)

        assert rest_of(client_socket, HEADER_S + SLACK_S) is not None


@pytest.mark.parametrize("before", [b"", KEEP_ALIVE])
@pytest.mark.parametrize(
    "headers",
    [
        b"X-Long: " + b"x" * 2_000_000,
        b"X-Long: " + b"x" * 40_000,
        b"".join(b"X-%d: y\r\n" % number for number in range(100)),
        b"".join(b"X-%d: %b\r\n" % (number, b"y" * 1000) for number in range(2000)),
    ],
    ids=["2 MB in one", "40 kB in one", "100 small ones", "2 MB in many"],
)
def test_too_much_in_headers_is_answered_431(mill: Stack, headers: bytes, before: bytes) -> None:
    with connect(mill.url, receive_bytes=65_536) as client_socket:
        if before:
            client_socket.sendall(before)
            received = b""
            while not received.endswith(b"}"):
                received += client_socket.recv(65_536)
        client_socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n\r\n")
        answer = rest_of(client_socket, SLACK_S)

    assert answer and answer.startswith(b"HTTP/1.1 431 ") and b'"headers_too_large"' in answer


def test_a_long_address_and_ninety_headers_are_well(client: httpx.Client) -> None:
    headers = {f"x-{number}": "y" * 100 for number in range(90)}

    assert client.get(f"/healthz?{'q' * 8000}", headers=headers).status_code == 200


@pytest.mark.parametrize("tail", [b"1;x=" + b"y" * 40_000, b"0\r\nX-Trailer: " + b"y" * 40_000])
def test_framing_without_end_is_stopped(mill: Stack, tail: bytes) -> None:
    head = (
        "POST /api/v1/predict/toy HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        f"Authorization: Bearer {API_KEY}\r\n\r\n"
    )
    with connect(mill.url) as client_socket:
        client_socket.sendall(head.encode())
        time.sleep(0.2)
        try:
            for start in range(0, len(tail), 4096):
                client_socket.sendall(tail[start : start + 4096])
                time.sleep(0.01)
        except ConnectionError:
            return
        answer = rest_of(client_socket, 1.0)

    assert answer is not None and b" 202 " not in answer


@pytest.mark.parametrize("sources", [["127.0.0.1"], MANY], ids=["one address", "fifty"])
def test_bodies_that_do_not_come_take_no_memory_from_others(
    mill: Stack, kinds: Kinds, client: httpx.Client, photo: bytes, sources: list[str]
) -> None:
    with settled(mill, kinds.sent("idle body"), 60, sources) as sockets:
        statuses = [predicted(client, photo) for _ in range(3)]
        in_chunks = client.post("/api/v1/predict/toy?wait=0", content=iter([photo]))
        answer = rest_of(sockets[0], WINDOW_S + SLACK_S)

    assert statuses == [202, 202, 202] and in_chunks.status_code == 202
    assert answer and answer.startswith(b"HTTP/1.1 408 ") and b'"too_slow"' in answer


@pytest.mark.parametrize("sources", [["127.0.0.1"], MANY], ids=["one address", "fifty"])
def test_uploads_that_do_not_come_keep_no_one_from_pictures_or_uploads(
    mill: Stack, kinds: Kinds, photo: bytes, sources: list[str]
) -> None:
    with settled(mill, kinds.sent("idle PUT"), 140, sources, row=20) as sockets:
        assert fetched(kinds) == 200
        assert uploaded(mill, photo) == 200
        answer = rest_of(sockets[0], WINDOW_S + SLACK_S)

    assert answer and answer.startswith(b"HTTP/1.1 408 ")


def test_uploads_that_stop_in_the_middle_keep_no_one_from_uploads(
    mill: Stack, kinds: Kinds, photo: bytes
) -> None:
    """These have got their connection to S3 before they stop."""
    with settled(mill, kinds.sent("idle PUT") + bytes(200_000), 140, MANY, row=20) as sockets:
        assert fetched(kinds) == 200
        assert uploaded(mill, photo) == 200
        assert rest_of(sockets[0], WINDOW_S + SLACK_S) is not None


@pytest.mark.parametrize("kind", ["slow reader", "slow reader, 6 MiB"])
@pytest.mark.parametrize("sources", [["127.0.0.1"], MANY], ids=["one address", "fifty"])
def test_whoever_does_not_read_keeps_no_one_from_pictures(
    mill: Stack, kinds: Kinds, photo: bytes, sources: list[str], kind: str
) -> None:
    with settled(mill, kinds.sent(kind), 140, sources, row=10):
        assert fetched(kinds) == 200
        assert uploaded(mill, photo) == 200


def test_whoever_does_not_read_is_cut_off(background: Background) -> None:
    background.wait(2 * WINDOW_S + SLACK_S)
    got = rest_of(background.unread, 5)

    assert got is not None and 0 < len(got) < RESULT


def test_a_body_that_is_slow_but_steady_arrives(background: Background) -> None:
    answer = background.steady.result(60)

    assert answer and answer.startswith(b"HTTP/1.1 202 ")


def test_a_body_that_goes_on_after_the_answer_is_cut_off(mill: Stack) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 25000000\r\n\r\n"
    with connect(mill.url) as client_socket:
        client_socket.sendall(head + b"x" * 10)
        assert client_socket.recv(65_536).startswith(b"HTTP/1.1 413 ")
        end = time.monotonic() + 2 * WINDOW_S + SLACK_S
        with pytest.raises(ConnectionError):
            while time.monotonic() < end:
                client_socket.sendall(b"x" * 4096)
                time.sleep(0.1)


def test_event_streams_with_nothing_to_say_live(background: Background) -> None:
    background.wait(3 * WINDOW_S + HEADER_S + SLACK_S)

    assert [is_closed(client_socket) for client_socket in background.streams] == [False] * 30


def test_an_idle_connection_of_an_address_leaves_for_its_next(mill: Stack) -> None:
    with crowd(mill.url, KEEP_ALIVE, PER_ADDRESS + 5, ["127.0.0.60"]) as sockets:
        assert slow_clients.wait_until(lambda: sum(map(is_closed, sockets)) == 5, 5)
        assert not is_closed(sockets[-1])


def test_an_address_with_too_much_under_way_is_told_so_and_others_are_not(
    mill: Stack, kinds: Kinds
) -> None:
    with crowd(mill.url, kinds.sent("events"), PER_ADDRESS, ["127.0.0.61"]) as sockets:
        assert all(client_socket.recv(1) for client_socket in sockets)
        with connect(mill.url, "127.0.0.61") as above, connect(mill.url, "127.0.0.62") as other:
            for client_socket in (above, other):
                client_socket.sendall(kinds.sent("events"))
            refused, served = rest_of(above, 5), other.recv(65_536)

    assert refused and refused.startswith(b"HTTP/1.1 429 ")
    assert b"max_connections_per_address" in refused
    assert served.startswith(b"HTTP/1.1 200 ")


@pytest.fixture(scope="module")
def narrow(mill: Stack) -> str:
    """A web process with little memory for bodies and little patience; its address."""
    port = free_port()
    env = {
        "PIXELMILL_PORT": str(port),
        "PIXELMILL_BODIES_MIB": "64",
        "PIXELMILL_IDLE_TIMEOUT_S": str(IDLE_S),
        "PIXELMILL_RATE_WINDOW_S": "60",
    }
    mill.start("web-narrow", [sys.executable, "-m", "web"], env)
    url = f"http://127.0.0.1:{port}"
    mill.wait_for("web-narrow", lambda: httpx.get(f"{url}/healthz").status_code == 200)
    return url


@pytest.mark.parametrize("after", [b"", b"\r\n"], ids=["in time", "by the sweep"])
def test_an_idle_connection_is_closed(narrow: str, after: bytes) -> None:
    """uvicorn's timer does it, and forgets to once a line break has come; then our sweep does."""
    with connect(narrow) as client_socket:
        client_socket.sendall(KEEP_ALIVE)
        assert client_socket.recv(65_536).startswith(b"HTTP/1.1 200 ")
        client_socket.sendall(after)
        began = time.monotonic()

        assert rest_of(client_socket, IDLE_S + LATE_S + SLACK_S) is not None
        assert time.monotonic() - began > IDLE_S / 2


def test_slow_bodies_are_evicted_for_a_new_one(narrow: str, kinds: Kinds, photo: bytes) -> None:
    """Fifty addresses have sent all that there is room for, and then hardly anything."""
    drip = kinds.sent("idle body") + bytes(3 * 2**20)
    headers = {"Authorization": f"Bearer {API_KEY}"}
    photo += bytes(8 * 2**20) + time.time_ns().to_bytes(8, "big")
    transport = httpx.HTTPTransport(local_address="127.0.0.99")
    with (
        crowd(narrow, drip, len(MANY), MANY) as sockets,
        httpx.Client(transport=transport, headers=headers, timeout=15) as client,
    ):
        predict = f"{narrow}/api/v1/predict/toy?wait=0"
        early = client.post(predict, content=photo).status_code
        time.sleep(GRACE_S + 1)
        late = client.post(predict, content=photo).status_code
        answers = [rest_of(client_socket, 0.1) or b"" for client_socket in sockets]

    ended = [text for text in answers if text.startswith(b"HTTP/1.1 408 ") and b"too_slow" in text]
    assert early == 429, "for a while anybody may be slow"
    assert late == 202
    assert ended and len(ended) < len(MANY)


@pytest.fixture(scope="module")
def small(mill: Stack) -> str:
    """A web process that may have few descriptors; its address."""
    port = free_port()
    command = f"ulimit -n {DESCRIPTORS}; exec {sys.executable} -m web"
    # Headers may take long here: what frees the descriptors is the limit of connections alone.
    env = {"PIXELMILL_PORT": str(port), "PIXELMILL_HEADER_TIMEOUT_S": "600"}
    mill.start("web-small", ["/bin/sh", "-c", command], env)
    url = f"http://127.0.0.1:{port}"
    mill.wait_for("web-small", lambda: httpx.get(f"{url}/healthz").status_code == 200)
    return url


@pytest.mark.parametrize("kind", ["silent", "half headers", "keep-alive"])
def test_more_idle_connections_than_descriptors_stop_nobody(
    small: str, kinds: Kinds, photo: bytes, kind: str
) -> None:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    with crowd(small, kinds.sent(kind), DESCRIPTORS + 100, ["127.0.0.1"]):
        assert httpx.get(f"{small}/healthz", timeout=5).status_code == 200
        predict = f"{small}/api/v1/predict/toy?wait=0"
        assert httpx.post(predict, content=photo, headers=headers).status_code == 202


def test_even_full_of_streams_it_says_that_it_is_well(small: str, kinds: Kinds) -> None:
    with crowd(small, kinds.sent("events"), DESCRIPTORS // 2 + 100, ["127.0.0.1"]):
        assert httpx.get(f"{small}/healthz", timeout=5).status_code == 200
        refused = httpx.get(f"{small}/static/pixelmill.css", timeout=5)

    assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0


def test_the_web_process_never_broke(mill: Stack) -> None:
    """The last of this file."""
    log = (mill.folder / "web.log").read_text()

    assert "Traceback" not in log and "unhandled exception" not in log
