"""Odd text in every place of every route, while two users work: nobody gets anything but their own.

What is sent goes over bare sockets, as clients refuse to send most of it.
"""

import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from stack import REPOSITORY, Stack

LIST_ROUTES = """
import json
from web.app import _make_page, create

def walk(routes, prefix):
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            context = getattr(route, "include_context", None)
            yield from walk(inner.routes, prefix + (getattr(context, "prefix", "") or ""))
            continue
        path = prefix + route.path
        yield path, sorted(getattr(route, "methods", None) or ["GET"])
        yield from walk(getattr(route, "routes", None) or [], path)

app = create()
while hasattr(app, "app"):
    app = app.app
print("ROUTES", json.dumps([*walk(app.routes, ""), *walk(_make_page(None).routes, "")]))
"""
ODD_ESCAPED = ["%00", "%ff%fe", "%ed%a0%80", "%0d%0aX-Injected:1", "%1b%5b31m", "..%2f..%2fx",
               "%5c..%5c", "%e2%80%ae", "a" * 300, "a" * 3000,
               "'%22%3Cb%3E%7B%7B7*7%7D%7D"]  # fmt: skip
ODD_BYTES = [b"\xff\xfe", b"\xed\xa0\x80", b"\x1b[31m", "é\u202e".encode(), b"a" * 9000, b"%00"]
HEADERS = [b"Host", b"Cookie", b"Authorization", b"Idempotency-Key", b"Last-Event-ID",
           b"Content-Type", b"Content-Length", b"Range", b"If-None-Match", b"User-Agent", b"Accept",
           b"Referer", b"X-Forwarded-Host", b"X-Forwarded-Proto", b"X-Odd\xff"]  # fmt: skip
ODD_JSON = ['"\\ud800"', '"\\u0000"', '"\\u001b[31m"', '"a\\r\\nb: c"', '"' + "a" * 9000 + '"',
            "NaN", "1e999", "9" * 400, "-1", "{}", "[" * 2000 + "]" * 2000, '{"a":1,"a":2}',
            "null", "true", '["\\udfff"]', '{"\\ud800": "\\u0000"}', '"../../x"', '"é😀"',
            ]  # fmt: skip
PEOPLE_S = 240.0
ENOUGH = 20
"""Answers to each of the two, for the test to say anything."""


@dataclass
class RawConnection:
    """Sends requests as bytes over one connection, and reads how they are answered."""

    address: tuple[str, int]
    statuses: Counter[int] = field(default_factory=Counter)
    broken: list[tuple[int, bytes]] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    _socket: socket.socket | None = None

    def send(self, request: bytes) -> int:
        """The status; 0 where the connection is closed without an answer."""
        status, head = self._once(request) or (0, b"")
        self.statuses[status] += 1
        if status >= 500:
            self.broken.append((status, request[:300]))
        if b"Injected" in head:
            self.heads.append(head)
        return status

    def _once(self, request: bytes) -> tuple[int, bytes] | None:
        was_open = self._socket is not None
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self.address, timeout=20)
            self._socket.sendall(request)
            if answer := self._read(self._socket, not request.startswith(b"HEAD")):
                return answer
        except OSError:
            pass
        self.close()
        return self._once(request) if was_open else None

    def _read(self, connection: socket.socket, has_body: bool) -> tuple[int, bytes] | None:
        data = b""
        while b"\r\n\r\n" not in data:
            chunk = connection.recv(65_536)
            if not chunk:
                return None
            data += chunk
        head, _, body = data.partition(b"\r\n\r\n")
        lower = head.lower()
        length = lower.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        is_open = b"connection: close" not in lower and length.isdigit()
        while is_open and has_body and len(body) < int(length):
            body += connection.recv(65_536)
        if not is_open:
            self.close()
        return int(head.split(b" ", 2)[1]), head

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None


class Person(threading.Thread):
    """Works until told to stop, and looks whether all that is answered is their own."""

    def __init__(self, stack: Stack, gain: float) -> None:
        super().__init__()
        self.client = httpx.Client(base_url=stack.url, timeout=150)
        self.gain, self.answers = gain, 0
        self.wrong: list[str] = []
        self.stopping = threading.Event()
        self.upload = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
        first = httpx.get(f"{stack.url}/api/v1/models", timeout=60)
        self.client.cookies.update(first.cookies)  # not by the client: nothing of it is open yet
        cookie = first.headers["set-cookie"]
        self.user = cookie.partition("=")[2].partition(".")[0]

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                self.work()
            except Exception as error:
                self.wrong.append(repr(error))

    def work(self) -> None:
        """One photo, then a few looks at it."""
        path = f"/api/v1/predict/toy?wait=100&gain={self.gain}"
        # Bytes behind the end make a file that was never sent before: new work, each third time.
        tail = str(self.answers).encode() if self.answers % 3 == 0 else b""
        job = self.check(self.client.post(path, content=self.upload + tail))
        for _ in range(3):
            looked = self.check(self.client.get(f"/api/v1/jobs/{job.get('id')}"))
            if looked.get("id") != job.get("id"):
                self.wrong.append(f"asked for {job.get('id')}, got {looked}"[:300])

    def check(self, answer: httpx.Response) -> dict[str, Any]:
        job: dict[str, Any] = answer.json()
        self.answers += 1
        folder = f"/pixelmill/out/{self.user}/"
        pictures = (job.get("result") or {}).get("objects", {}).values()
        is_own = job.get("params") == {"gain": self.gain} and job.get("error", "") is None
        if not is_own or not all(
            urlsplit(picture["url"]).path.startswith(folder) for picture in pictures
        ):
            self.wrong.append(f"{answer.status_code} {answer.text[:300]}")
        return job


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An installation of its own: nobody else's errors are in its log."""
    paths = f"{REPOSITORY / 'tests' / 'models'}"
    env = {"PIXELMILL_MODELS": "toy", "PIXELMILL_MODEL_PATHS": paths}
    with Stack(tmp_path_factory.mktemp("odd"), env) as stack:
        yield stack.start_all()


@pytest.fixture(scope="module")
def routes(mill: Stack) -> list[tuple[str, list[str]]]:
    """Every route of the application, Gradio's among them: path and methods."""
    out = subprocess.run(
        [sys.executable, "-c", LIST_ROUTES], env=mill.env, cwd=mill.folder, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    lines = [line for line in out.stdout.splitlines() if line.startswith("ROUTES ")]
    assert lines, out.stderr
    return [(path, methods) for path, methods in json.loads(lines[0].removeprefix("ROUTES "))]


def head(method: str, path: str, *headers: bytes, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1".encode(), *headers]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def filled(path: str, text: str) -> str:
    """A route's path with this text in place of its parameters, or behind it."""
    if "{" not in path:
        return f"{path}/{text}".replace("//", "/")
    parts = [text if part.startswith("{") else part for part in path.split("/")]
    return "/".join(part.partition("{")[0] + text if "{" in part else part for part in parts)


def requests(routes: list[tuple[str, list[str]]], host: bytes) -> Iterator[bytes]:
    """Odd text in the path, the query and each header of every route."""
    own = b"Host: " + host
    for turn, (path, methods) in enumerate(routes):
        plain = filled(path, "0") if "{" in path else path
        for method in methods:
            for text in ODD_ESCAPED:
                yield head(method, filled(path, text), own)
                yield head(
                    method, f"{plain}?jobs={text}&{text}=1&wait=0&X-Amz-Signature={text}", own
                )
        for place, name in enumerate(HEADERS, start=turn):
            others = [] if name == b"Host" else [own]
            value = ODD_BYTES[place % len(ODD_BYTES)]  # over all routes, each in each header
            yield head(methods[0], plain, *others, name + b": " + value)


def bodies(host: bytes) -> Iterator[bytes]:
    """Odd values in every field of every body: JSON, forms, multipart."""
    run = '"data": ["toy"], "fn_index": 0, "trigger_id": 4, "session_hash": "abc"'
    fields = {
        "/api/v1/jobs": ["model", "params", "upload", "uploads", "sha256", "variant", "size",
                         "type", "priority", "keep", "deadline_s", "output", "odd"],
        "/api/v1/uploads": ["size", "type", "sha256", "variant", "odd"],
        "/ui/gradio_api/run/predict": ["data", "fn_index", "trigger_id", "session_hash",
                                       "event_data", "event_id", "batched", "odd"],
        "/ui/gradio_api/queue/join": ["data", "fn_index", "session_hash"],
    }  # fmt: skip
    good = {
        "/api/v1/jobs": '"model": "toy", "upload": "0"',
        "/api/v1/uploads": '"size": 9',
        "/ui/gradio_api/run/predict": run,
        "/ui/gradio_api/queue/join": run,
    }
    headers = [b"Host: " + host, b"Content-Type: application/json"]
    for path, names in fields.items():
        for value in ODD_JSON:
            yield head("POST", path, *headers, body=value.encode())
            for name in names:
                body = f'{{{good[path]}, "{name}": {value}}}'
                if f'"{name}"' in good[path]:  # in its place, not twice
                    rest = json.loads(f"{{{good[path]}}}")
                    del rest[name]
                    body = json.dumps(rest)[:-1] + f', "{name}": {value}}}'
                yield head("POST", path, *headers, body=body.encode())
    for text in [*(escaped.encode() for escaped in ODD_ESCAPED), *ODD_BYTES]:
        urlencoded = b"Content-Type: application/x-www-form-urlencoded"
        for form in (b"user=" + text + b"&password=x", b"user=ada&password=" + text, text):
            yield head("POST", "/login", b"Host: " + host, urlencoded, body=form)
        part = b'--x\r\nContent-Disposition: form-data; name="user"\r\n\r\n' + text
        part += b'\r\n--x\r\nContent-Disposition: form-data; name="password"\r\n\r\nx\r\n--x--\r\n'
        for charset in (b"", b"; charset=raw_unicode_escape", b"; charset=" + text):
            kind = b"Content-Type: multipart/form-data; boundary=x" + charset
            yield head("POST", "/login", b"Host: " + host, kind, body=part)
            yield head("POST", "/ui/gradio_api/upload", b"Host: " + host, kind, body=part)


@pytest.mark.timeout(500)
def test_odd_text_everywhere_reaches_nobody_else(
    mill: Stack, routes: list[tuple[str, list[str]]]
) -> None:
    with (
        closing(RawConnection(("127.0.0.1", mill.ports["web"]))) as wire,
        ExitStack() as clients,
    ):
        people = [Person(mill, gain) for gain in (1.25, 2.5)]
        for person in people:
            clients.enter_context(person.client)
        disturb(mill, routes, wire, people)


def disturb(
    mill: Stack,
    routes: list[tuple[str, list[str]]],
    wire: RawConnection,
    people: list[Person],
) -> None:
    host = f"127.0.0.1:{mill.ports['web']}".encode()
    assert len({path for path, _ in routes}) > 60 and "/ui/gradio_api/upload" in dict(routes)

    for person in people:
        person.start()
    sent = 0
    end = time.monotonic() + PEOPLE_S
    for request in (*requests(routes, host), *bodies(host)):
        wire.send(request)
        sent += 1
        assert time.monotonic() < end, f"only {sent} requests in {PEOPLE_S:.0f} s"
    while min(person.answers for person in people) < ENOUGH and time.monotonic() < end:
        time.sleep(0.1)
    for person in people:
        person.stopping.set()
    for person in people:
        person.join(60)
    print(f"{sent} odd requests: {sorted(wire.statuses.items())}")
    print(f"answers to the two: {[person.answers for person in people]}")

    assert not wire.broken, f"{len(wire.broken)} answers of 5xx: {wire.broken[:5]}"
    assert not wire.heads, "text of a request became a header of its answer"
    assert [person.wrong[:3] for person in people] == [[], []]
    assert min(person.answers for person in people) >= ENOUGH
    assert mill.processes["web"].poll() is None, "the same process serves on"
    for person in people:
        person.work()
        assert not person.wrong
    log = (mill.folder / "web.log").read_bytes()
    assert b"\x1b" not in log and b"\x00" not in log
    assert b"unhandled exception" not in log and b"Traceback" not in log, log[-2000:]
