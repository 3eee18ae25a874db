"""What `pixelmill proxy` prints, as the real nginx and haproxy act on it.

Behind them are servers that say what they were asked: what counts is where requests go, and how.
"""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from balancers import certify, require, running, settings_of, write
from stack import free_port

from deploy import proxy
from deploy.proxy import Kind, Proxy, render
from tasks.errors import BadInput

SIGNED = "/mill/pixelmill/in/a/photo?X-Amz-Signature=0"
CHECKS = {"nginx": ["nginx", "-t", "-e", "stderr", "-c"], "haproxy": ["haproxy", "-c", "-f"]}
S3_URL = "http://127.0.0.1:9000"
MOST = 25 * 2**20
NO_POSTS = 501
"""What Python's own server answers."""
LEFT_OUT_S = 2
"""So long nginx sends nothing to a replica that has failed (`fail_timeout`)."""


class Told(ThreadingHTTPServer):
    """A server that answers with its name and the request as it came."""

    def __init__(self, name: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Teller)
        self.name, self.received = name, 0
        """Bytes of bodies so far."""
        self.has_ended = threading.Event()
        self._connections: list[socket.socket] = []
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.append(request)
        super().process_request(request, client_address)

    def end(self) -> None:
        """As if its process were killed: what is connected is closed as well."""
        self.has_ended.set()
        self.shutdown()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
        self.thread.join()


class _Teller(BaseHTTPRequestHandler):
    server: Told
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        left = int(self.headers.get("content-length", 0))
        while left and (piece := self.rfile.read1(min(left, 65536))):  # type: ignore[attr-defined]
            self.server.received += len(piece)
            left -= len(piece)
        headers = {name.lower(): value for name, value in self.headers.items()}
        told = {"name": self.server.name, "path": self.path, "headers": headers}
        body = json.dumps(told | {"method": self.command}).encode()
        is_stream = self.path.endswith("/events")
        self.send_response(503 if "down" in self.path else 200)
        self.send_header("X-Accel-Buffering", "no" if is_stream else "yes")
        self.send_header("Content-Length", str(len(body) + is_stream))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if is_stream:
            self.server.has_ended.wait()  # as a stream, whose end is far away

    do_GET = do_HEAD = do_POST = do_PUT = do_OPTIONS = answer

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


@dataclass
class Balanced:
    """Two web processes and an S3 behind a load balancer."""

    kind: Kind
    url: str
    port: int
    web: list[Told]
    s3: Told
    client: httpx.Client

    def ask(self, path: str, method: str = "GET", **options: Any) -> dict[str, Any]:
        answer = self.client.request(method, f"{self.url}{path}", **options)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "run").mkdir()
    certify(folder, "DNS:mill.test", "IP:127.0.0.1")
    return folder


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def balanced(request: pytest.FixtureRequest, folder: Path) -> Iterator[Balanced]:
    """An installation below /mill."""
    kind: Kind = request.param
    require(kind)
    port = free_port()
    url = f"https://127.0.0.1:{port}"
    with ExitStack() as ends:
        web, s3 = [Told("a"), Told("b")], Told("s3")
        settings = settings_of(f"{url}/mill", f"http://{s3.address}")
        ends.enter_context(running(kind, folder, settings, [told.address for told in web], port))
        verify = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        client = ends.enter_context(httpx.Client(verify=verify, timeout=20))
        made = Balanced(kind, url, port, web, s3, client)
        _until(lambda: _names(made) == {"a", "b"})  # haproxy has asked both for their health
        yield made
        for told in (*made.web, s3):
            told.end()


def _come_back(balanced: Balanced, *numbers: int) -> None:
    """These replicas, which have ended, are started again on their ports."""
    for number in numbers:
        old = balanced.web[number]
        balanced.web[number] = Told(old.name, old.server_port)


def _names(balanced: Balanced) -> set[str]:
    paths = ("/mill/api/v1/models" for _ in range(16))
    answers = [balanced.client.get(f"{balanced.url}{path}") for path in paths]
    return {answer.json()["name"] for answer in answers if answer.status_code == 200}


@contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """The process, killed at the end, even if it is stopped."""
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _is_served(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


def _connected(port: int, *protocols: str) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20))


def _until(is_so: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_the_load_balancer_takes_its_configuration(folder: Path, kind: Kind) -> None:
    require(kind)
    certificate = str(folder / ("cert.pem" if kind == "nginx" else "both.pem"))
    proxy = Proxy(["127.0.0.1:1", "127.0.0.1:2"], certificate, str(folder / "key.pem"),
                  behind=["10.0.0.0/8", "192.0.2.1"], run_dir=str(folder / "run"))  # fmt: skip

    for url in ("https://mill.test", "https://mill.test:8443/mill"):
        write(kind, folder, settings_of(url, "https://127.0.0.1"), proxy)
        command = [*CHECKS[kind], str(folder / f"{kind}.conf")]
        done = subprocess.run(command, capture_output=True, text=True)

        assert done.returncode == 0, done.stderr
        assert "[warn" not in done.stderr.lower()


def test_only_the_path_of_gradio_is_sticky(balanced: Balanced) -> None:
    pages = {balanced.ask("/mill/ui/")["name"] for _ in range(8)}

    assert len(pages) == 1
    assert _names(balanced) == {"a", "b"}
    [cookie] = [cookie for cookie in balanced.client.cookies.jar if "route" in cookie.name]
    assert cookie.secure and cookie.path == ("/mill/ui/" if balanced.kind == "nginx" else "/")


def test_what_clients_say_of_their_way_here_is_replaced(balanced: Balanced) -> None:
    forged = {"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Host": "evil.test",
              "X-Forwarded-Proto": "http", "Forwarded": "for=198.51.100.7"}  # fmt: skip

    headers = balanced.ask("/mill/api/v1/models", headers=forged)["headers"]

    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-forwarded-host"] == headers["host"] == f"127.0.0.1:{balanced.port}"
    assert "forwarded" not in headers


def test_signed_requests_go_straight_to_s3_as_they_were_signed(balanced: Balanced) -> None:
    told = balanced.ask(SIGNED, headers={"Cookie": "a=b", "Origin": balanced.url})

    assert (told["name"], told["path"]) == ("s3", SIGNED.removeprefix("/mill"))
    assert told["headers"]["host"] == f"127.0.0.1:{balanced.port}"
    assert "cookie" not in told["headers"]


def test_a_picture_comes_with_the_headers_that_a_web_process_gives_it(balanced: Balanced) -> None:
    headers = balanced.client.get(f"{balanced.url}{SIGNED}").headers

    assert headers["content-security-policy"].endswith("sandbox")
    assert headers["cache-control"] == "private, max-age=300"


@pytest.mark.parametrize(
    ("method", "path", "origin"),
    [
        ("HEAD", SIGNED, ""),
        ("OPTIONS", SIGNED, "https://shop.test"),
        ("GET", SIGNED, "https://shop.test"),
        ("GET", SIGNED.partition("?")[0], ""),
    ],
)
def test_other_requests_for_objects_are_answered_by_a_web_process(
    balanced: Balanced, method: str, path: str, origin: str
) -> None:
    before = balanced.s3.received
    answer = balanced.client.request(
        method, f"{balanced.url}{path}", headers={"Origin": origin} if origin else {}
    )

    assert answer.status_code == 200
    assert method == "HEAD" or answer.json()["name"] in ("a", "b")
    assert balanced.s3.received == before


def test_a_photo_reaches_s3_while_it_is_still_being_sent(balanced: Balanced) -> None:
    half = b"x" * 500_000
    before = balanced.s3.received
    with _connected(balanced.port) as sent:
        sent.sendall(f"PUT {SIGNED} HTTP/1.1\r\nHost: 127.0.0.1:{balanced.port}\r\n".encode())
        sent.sendall(f"Content-Length: {2 * len(half)}\r\n\r\n".encode() + half)
        _until(lambda: balanced.s3.received - before > len(half) // 2)
        sent.sendall(half)

        assert sent.recv(64).startswith(b"HTTP/1.1 200")


def test_a_photo_above_the_limit_is_refused_in_our_words(balanced: Balanced) -> None:
    with _connected(balanced.port) as sent:
        sent.sendall(f"PUT {SIGNED} HTTP/1.1\r\nHost: 127.0.0.1:{balanced.port}\r\n".encode())
        sent.sendall(f"Content-Length: {MOST + 1}\r\n\r\n".encode())
        answer = sent.recv(4096)
        while b"}}" not in answer:
            answer += sent.recv(4096)

    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"code":"too_large"' in answer


def test_browsers_get_http_2(balanced: Balanced) -> None:
    with _connected(balanced.port, "h2", "http/1.1") as sent:
        assert sent.selected_alpn_protocol() == "h2"


def test_replicas_that_all_answer_503_stay_and_say_why_themselves(balanced: Balanced) -> None:
    answers = [balanced.client.get(f"{balanced.url}/mill/api/v1/down") for _ in range(16)]

    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["name"] for answer in answers} == {"a", "b"}
    assert _names(balanced) == {"a", "b"}


def test_while_a_replica_is_gone_the_other_one_answers_everything(balanced: Balanced) -> None:
    gone = balanced.web[0]
    gone.end()
    posts = [balanced.ask("/mill/api/v1/jobs", "POST", content=b"photo") for _ in range(8)]
    balanced.web[1].end()
    answer = balanced.client.get(f"{balanced.url}/mill/api/v1/models")
    _come_back(balanced, 0, 1)

    assert {post["name"] for post in posts} == {"b"}
    assert answer.status_code == 503
    assert (answer.json()["error"]["code"], answer.headers["retry-after"]) == ("unavailable", "2")
    _until(lambda: _names(balanced) == {"a", "b"})


@pytest.mark.parametrize("balanced", ["nginx"], indirect=True)
@pytest.mark.parametrize("path", ["/mill/api/v1/models", "/mill/ui/"])
def test_what_is_asked_for_is_there_as_soon_as_a_replica_is_back(
    balanced: Balanced, path: str
) -> None:
    for told in balanced.web:
        told.end()
    refused = balanced.client.get(f"{balanced.url}{path}").status_code
    _come_back(balanced, 1)
    answer = balanced.client.get(f"{balanced.url}{path}")
    _come_back(balanced, 0)

    assert (refused, answer.status_code) == (503, 200)
    _until(lambda: _names(balanced) == {"a", "b"})


@pytest.mark.parametrize("balanced", ["nginx"], indirect=True)
def test_a_stream_does_not_keep_a_replica_that_is_back_from_the_others(balanced: Balanced) -> None:
    balanced.web[0].end()
    for _ in range(8):
        balanced.ask("/mill/api/v1/models")
    _come_back(balanced, 0)
    time.sleep(LEFT_OUT_S + 1)  # nginx may try it again
    with ExitStack() as ends:
        for _ in range(4):
            url = f"{balanced.url}/mill/api/v1/events"
            ends.enter_context(balanced.client.stream("GET", url))
        balanced.web[1].end()
        time.sleep(0.5)  # the load balancer sees that its connections are closed
        answers = [balanced.client.post(f"{balanced.url}/mill/api/v1/jobs") for _ in range(3)]
    balanced.web[0].has_ended.set()
    _come_back(balanced, 1)

    assert [answer.json()["name"] for answer in answers if answer.status_code == 200]
    _until(lambda: _names(balanced) == {"a", "b"})


@pytest.mark.parametrize(
    ("method", "path", "kind", "answers"),
    [
        ("GET", "/api/v1/jobs/a", "", "at_once"),
        ("HEAD", "/api/v1/jobs/a?wait=300", "", "at_once"),
        ("POST", "/api/v1/jobs", "application/json", "soon"),
        ("DELETE", "/api/v1/jobs/a", "", "soon"),
        ("POST", "/api/v1/predict/matting?wait=0", "image/png", "soon"),
        ("POST", "/api/v1/predict/matting?a=b&wait=0.0", "", "soon"),
        ("POST", "/api/v1/predict/matting", "image/png", "later"),
        ("PUT", "/api/v1/predict/matting/a.json.png", "", "later"),
        ("POST", "/api/v1/predict/matting?wait=60", "", "later"),
        ("POST", "/api/v1/predict/matting?wait=9.5&a=b", "multipart/form-data", "later"),
        ("POST", "/api/v1/predict/matting?wait=300", "image/png", "last"),
        ("POST", "/api/v1/predict/matting?wait=61", "", "last"),
        ("POST", "/api/v1/predict/matting?wait=1e2", "", "last"),
        ("POST", "/api/v1/jobs?wait=120", "application/json", "last"),
        ("POST", "/api/v1/predict/matting", "multipart/form-data; b=a", "last"),
        ("POST", "/mill/api/v1/predict/matting?a=b", "application/json", "last"),
    ],
)  # fmt: skip
def test_a_request_is_waited_for_as_long_as_its_answer_may_take(
    sorting: httpx.Client, method: str, path: str, kind: str, answers: str
) -> None:
    answer = sorting.request(method, path, headers={"Content-Type": kind} if kind else {})

    assert answer.headers["answers"] == answers


@pytest.fixture(scope="module")
def sorting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A real nginx that says how it sorts a request by the `map` of our configuration."""
    require("nginx")
    folder, port = tmp_path_factory.mktemp("sorting"), free_port()
    settings = settings_of("https://mill.test/mill", S3_URL)
    text = render("nginx", Proxy([], "", "", run_dir=str(folder)), settings)
    server = f"listen 127.0.0.1:{port}; add_header Answers $pixelmill_answers; return 204;"
    head, _, rest = text.partition("    limit_conn_zone")
    before, upstreams, maps = head.partition("    # A replica that refuses")
    maps = maps[maps.index("    map $cookie_pixelmill_route") :]
    (folder / "sorting.conf").write_text(f"{before}{maps}server {{ {server} }}\n}}\n")
    command = ["nginx", "-e", "stderr", "-c", str(folder / "sorting.conf"), "-g", "daemon off;"]
    with _ended(subprocess.Popen(command)):
        _until(lambda: _is_served(port), 30)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield client


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_a_replica_that_hangs_is_left_out(
    tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(kind)
    monkeypatch.setattr(proxy, "READ_S", 1)
    monkeypatch.setattr(proxy, "_MARGIN_S", 1)
    certify(tmp_path, "IP:127.0.0.1")
    (tmp_path / "www" / "ui").mkdir(parents=True)
    (tmp_path / "www" / "healthz").touch()
    port, ports = free_port(), [free_port(), free_port()]
    url = f"https://127.0.0.1:{port}"
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory"]
    with ExitStack() as ends:
        web = [
            ends.enter_context(_ended(subprocess.Popen([*command, str(tmp_path / "www"), str(of)])))
            for of in ports
        ]
        for of in ports:
            _until(lambda of=of: _is_served(of), 30)  # type: ignore[misc]
        settings = settings_of(url, S3_URL, fetch_timeout_s="1")
        servers = [f"127.0.0.1:{of}" for of in ports]
        ends.enter_context(running(kind, tmp_path, settings, servers, port))
        _until(lambda: httpx.get(f"{url}/", verify=False).status_code == 200, 30)
        os.kill(web[0].pid, signal.SIGSTOP)

        posts = [httpx.post(f"{url}/?wait=0", verify=False, timeout=60) for _ in range(2)]
        # Each is somebody else, without a cookie: half of them would come to the replica.
        asked = [f"{url}{path}" for path in ("/", "/ui/") * 8]
        answers = [httpx.get(of, verify=False, timeout=60) for of in asked]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert kind == "haproxy" or not refused
        refused += [answer for answer in posts if answer.status_code != NO_POSTS]

        assert len(refused) < len(asked) / 2
        assert all(answer.headers["retry-after"] == "2" for answer in refused)


@pytest.mark.parametrize(
    ("kind", "line"), [("nginx", "proxy_read_timeout 330s;"), ("haproxy", "timeout server 330s")]
)
def test_an_answer_is_waited_for_as_long_as_a_request_may_ask(kind: Kind, line: str) -> None:
    assert line in render(kind, Proxy([], "", ""), settings_of("https://mill.test", S3_URL))


def test_haproxy_believes_the_authority_of_s3s_certificate(tmp_path: Path) -> None:
    authority = tmp_path / "authority.pem"
    settings = settings_of("https://mill.test", "https://s3.test")

    text = render(
        "haproxy", Proxy([], "", ""), settings.model_copy(update={"s3_ca_file": authority})
    )

    assert f"verify required ca-file {authority}" in text
    assert "ca-file @system-ca" in render("haproxy", Proxy([], "", ""), settings)


def test_a_bucket_that_is_a_folder_is_refused(folder: Path) -> None:
    with pytest.raises(BadInput, match="serves one host alone"):
        render("nginx", Proxy([], "", ""), settings_of("https://mill.test", "file:///photos"))


def test_an_address_without_tls_is_refused(folder: Path) -> None:
    with pytest.raises(BadInput, match="expected https"):
        render("nginx", Proxy([], "", ""), settings_of("http://mill.test", S3_URL))


def test_a_client_cannot_say_who_it_is_where_the_load_balancer_stands_alone() -> None:
    settings = settings_of("https://mill.test", S3_URL, auth="proxy", proxy_addresses="10.0.0.1")

    alone = render("nginx", Proxy([], "", ""), settings)
    behind = render("nginx", Proxy([], "", "", behind=["10.0.0.9"]), settings)

    assert 'proxy_set_header X-Forwarded-User "";' in alone
    assert "X-Forwarded-User" not in behind
