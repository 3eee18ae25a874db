"""The middleware in front of all routes: hosts, origins, sizes, closed routes, security headers."""

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from stack import REPOSITORY, Stack

from storage import backlog_keys

KIB = 1024
PHOTO = (REPOSITORY / "examples" / "chelsea.jpg").read_bytes()
CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}
FOREIGN = [
    CROSS_SITE,
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
]


@pytest.fixture
def visitor(stack: Stack) -> Iterator[httpx.Client]:
    """A browser whose identity the page has set."""
    with httpx.Client(base_url=stack.url, timeout=120) as client:
        client.get("/api/v1/models")
        yield client


def raw(stack: Stack, request: bytes) -> tuple[int, bytes]:
    """Status and whole answer of one request, sent as it is."""
    with socket.create_connection(("127.0.0.1", stack.ports["web"]), timeout=20) as connection:
        connection.sendall(request)
        data = b""
        while chunk := connection.recv(65_536):
            data += chunk
    return (int(data.split(b" ", 2)[1]) if data else 0), data


def ask(stack: Stack, target: str, *headers: str, method: str = "GET") -> tuple[int, bytes]:
    lines = [f"{method} {target} HTTP/1.1", "Connection: close", *headers, "", ""]
    return raw(stack, "\r\n".join(lines).encode("latin-1"))


def code(data: bytes) -> str:
    return str(json.loads(data.partition(b"\r\n\r\n")[2])["error"]["code"])


def queued(stack: Stack) -> int:
    """Tickets so far: a run that starts on an idle installation calls for one."""
    return int(stack.state.get(backlog_keys.TICKET_COUNT) or 0)


# Origin


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_another_site_changes_nothing(stack: Stack, visitor: httpx.Client, headers: Any) -> None:
    upload = stack.upload("noop")
    before = queued(stack)

    answers = [
        visitor.post("/api/v1/predict/toy?wait=0", content=b"x", headers=headers),
        visitor.post("/api/v1/jobs", json={"upload": upload, "model": "noop"}, headers=headers),
        visitor.post("/api/v1/uploads", json={"size": 9}, headers=headers),
        visitor.post(f"/api/v1/jobs/{'0' * 32}/cancel", headers=headers),
        visitor.delete(f"/api/v1/jobs/{'0' * 32}", headers=headers),
        visitor.post("/login", data={"user": "a", "password": "b"}, headers=headers),
        visitor.post("/logout", headers=headers),
        visitor.post("/ui/gradio_api/run/predict", json={}, headers=headers),
        visitor.put("/pixelmill/in/a/b?X-Amz-Signature=0", content=b"x", headers=headers),
    ]

    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in answers] == [
        (403, "cross_site")
    ] * len(answers)
    assert not any("set-cookie" in answer.headers for answer in answers)
    assert queued(stack) == before


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_another_site_asks_for_never_replaces_an_identity(stack: Stack, method: str) -> None:
    """A browser keeps a Lax cookie back from other sites' requests, so the visitor seems new."""
    for headers in [*FOREIGN, {"Referer": "https://evil.example/a"}]:
        answer = httpx.request(method, f"{stack.url}/api/v1/models", headers=headers)

        assert "set-cookie" not in answer.headers, headers


def test_a_new_visitor_of_the_page_itself_gets_an_identity(stack: Stack) -> None:
    for headers in (
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": stack.url},
        {"Referer": f"{stack.url}/ui/"},
    ):
        answer = httpx.get(f"{stack.url}/api/v1/models", headers=headers)

        assert answer.status_code == 200 and "set-cookie" in answer.headers, headers


def test_the_page_itself_and_programs_may_do_all(stack: Stack, visitor: httpx.Client) -> None:
    for headers in (
        {"Origin": stack.url, "Sec-Fetch-Site": "same-origin"},
        {"Origin": stack.url},
        {"Sec-Fetch-Site": "none"},
        {},
    ):
        answer = visitor.post("/api/v1/uploads", json={"size": 9}, headers=headers)

        assert answer.status_code == 200, headers


def test_a_key_needs_no_origin_and_opens_no_other_pages_eyes(stack: Stack) -> None:
    headers = {"Authorization": f"Bearer {stack.api_key}", "Origin": "https://app.example"}

    answer = httpx.post(f"{stack.url}/api/v1/uploads", json={"size": 9}, headers=headers)
    asked = httpx.options(f"{stack.url}/api/v1/uploads", headers=headers)

    assert answer.status_code == 200
    assert not [name for name in (*answer.headers, *asked.headers) if name.startswith("access-")]


def test_a_page_on_another_port_reads_nothing_of_gradio(stack: Stack) -> None:
    headers = {"Origin": "http://127.0.0.1:1", "Access-Control-Request-Method": "POST"}

    for answer in (
        httpx.get(f"{stack.url}/ui/", headers=headers),
        httpx.options(f"{stack.url}/ui/gradio_api/run/predict", headers=headers),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


# Hosts


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("Host: evil.example", 421),
        ("Host: 127.0.0.1.evil.example", 421),
        ("Host: localhost:0", 421),
        ("Host: localhost:99999", 421),
        ("Host: [::2]", 421),
        ("Host: [:::]:80", 421),
        ("Host: host:abc", 400),
        ("Host: a b", 400),
        ("Host: ", 400),
        ("X: y", 400),
        ("Host: localhost\r\nHost: localhost", 400),
        ("Host: l\xf6calhost", 400),
        ("Host: localhost:12a", 400),
        ("Host: [::1", 400),
        ("Host: a@b", 400),
    ],
)
def test_a_host_that_is_not_ours_starts_no_work(stack: Stack, host: str, status: int) -> None:
    before = queued(stack)
    path = "/api/v1/predict/toy?wait=0"

    for method, target in (
        ("POST", path),
        ("GET", "/api/v1/models"),
        ("GET", "/ui/"),
        ("GET", "/login"),
        ("GET", "/ui/assets"),
        ("GET", "/openapi.json"),
    ):
        answered, data = ask(stack, target, host, "Content-Length: 0", method=method)
        assert answered == status and code(data) in ("unknown_host", "bad_request"), (target, data)

    assert queued(stack) == before


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:9", "[::1]:7860"])
def test_loopback_names_are_ours_on_any_port(stack: Stack, host: str) -> None:
    assert ask(stack, "/api/v1/models", f"Host: {host}")[0] == 200


def test_a_balancer_may_name_no_host(stack: Stack) -> None:
    assert raw(stack, b"GET /healthz HTTP/1.0\r\n\r\n")[0] == 200
    assert ask(stack, "/readyz", "Host: pod-7.internal:7860")[0] == 200


def test_redirects_name_no_host_and_no_scheme(stack: Stack) -> None:
    for path in (
        "/",
        "/ui",
        "/ui/",
        "/api/v1/models/",
        "/docs/",
        "/static",
        "/ui/static",
        "/login/",
    ):
        answer = httpx.get(f"{stack.url}{path}", headers={"Host": "localhost:1"})

        assert answer.headers.get("location", "/").startswith("/"), path
        assert answer.headers.get("location", "/")[1:2] != "/", path


@pytest.mark.parametrize(
    "path",
    [
        "/pixelmill/../x",
        "/pixelmill/in/../x",
        "/pixelmill/%2e%2e/x",
        "/pixelmill/in/%2E%2e/x",
        "/pixelmill//in/x",
        "/pixelmill/in%2f..%2fx",
        "/pixelmill/in/./x",
        "/pixelmill/in\\x",
        "/pixelmill/in/%5c..%5cx",
        "/pixelmill/in/%00",
    ],
)
def test_paths_that_servers_read_in_two_ways_are_not_sent_on(stack: Stack, path: str) -> None:
    for method in ("GET", "PUT"):
        status, data = ask(
            stack,
            f"{path}?X-Amz-Signature=0",
            f"Host: 127.0.0.1:{stack.ports['web']}",
            "Content-Length: 0",
            method=method,
        )

        assert (status, code(data)) == (400, "bad_request"), data


def test_only_objects_are_read_and_written_on_the_s3_path(stack: Stack) -> None:
    listed = httpx.get(f"{stack.url}/pixelmill/?list-type=2&X-Amz-Signature=0")

    assert (listed.status_code, listed.json()["error"]["code"]) == (403, "not_signed")


# Sizes


def chunked(stack: Stack, path: str, total: int) -> tuple[int, int]:
    """Status, and bytes that were sent before it came."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{stack.ports['web']}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    piece = b"4000\r\n" + b" " * 16 * KIB + b"\r\n"
    with socket.create_connection(("127.0.0.1", stack.ports["web"]), timeout=20) as connection:
        connection.sendall(head.encode())
        sent = 0
        connection.settimeout(0.02)
        while sent < total:
            try:
                data = connection.recv(65_536)
                return int(data.split(b" ", 2)[1]), sent
            except TimeoutError:
                pass
            connection.settimeout(20)
            connection.sendall(piece)
            sent += 16 * KIB
            connection.settimeout(0.02)
        connection.settimeout(20)
        return int(connection.recv(65_536).split(b" ", 2)[1]), sent


@pytest.mark.parametrize(
    "path", ["/api/v1/jobs", "/api/v1/uploads", "/ui/gradio_api/run/predict", "/login", "/nowhere"]
)
def test_a_large_body_is_refused_as_it_arrives_and_not_repeated(stack: Stack, path: str) -> None:
    secret = "never-to-be-repeated"
    body = json.dumps({"model": secret, "fill": "a" * 300 * KIB}).encode()
    headers = {"Content-Type": "application/json"}

    declared = httpx.post(f"{stack.url}{path}", content=body, headers=headers)
    status, sent = chunked(stack, path, 4 * KIB * KIB)

    assert declared.status_code == 413 and declared.json()["error"]["code"] == "too_large"
    assert secret not in declared.text and len(declared.content) < KIB
    assert status == 413 and sent < KIB * KIB, sent


def test_a_length_that_is_none_is_refused(stack: Stack) -> None:
    host = f"Host: 127.0.0.1:{stack.ports['web']}"
    for length in (
        "Content-Length: abc",
        "Content-Length: -1",
        "Content-Length: 1e3",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: " + "9" * 30,
    ):
        for path in ("/api/v1/jobs", "/api/v1/predict/toy", "/pixelmill/in/a/b?X-Amz-Signature=0"):
            method = "PUT" if "Signature" in path else "POST"
            assert 400 <= ask(stack, path, host, length, method=method)[0] < 500, (length, path)


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", ""])
def test_bodies_are_json_and_say_so(visitor: httpx.Client, kind: str) -> None:
    answer = visitor.post(
        "/api/v1/uploads", content=b'{"size": 9}', headers={"Content-Type": kind} if kind else {}
    )

    assert answer.status_code == 415 and answer.json()["error"]["code"] == "unsupported_type"


def test_a_wrong_body_is_not_repeated(visitor: httpx.Client) -> None:
    answers = [
        visitor.post("/api/v1/jobs", json={"model": "toy", "n" * 5000: 1}),
        visitor.post("/api/v1/jobs", json={"model": "toy", "params": "s" * 5000}),
        visitor.post("/api/v1/jobs", json={"model": "m" * 5000, "upload": "0"}),
        visitor.get("/api/v1/jobs/" + "j" * 900),
        visitor.get("/" + "p" * 900),
        visitor.get("/api/v1/events?jobs=" + "e" * 900),
    ]

    assert all(400 <= answer.status_code < 500 and len(answer.content) < KIB for answer in answers)


def test_a_header_that_is_too_long_is_answered(stack: Stack) -> None:
    answer = httpx.get(f"{stack.url}/api/v1/models", headers={"X-Long": "a" * 40_000})

    assert answer.status_code == 431 and answer.json()["error"]["message"]


@pytest.mark.parametrize("deadline", ["nan", "inf", "-inf", "-1", "1e999"])
def test_a_deadline_is_a_number(visitor: httpx.Client, deadline: str) -> None:
    for name in ("deadline_s", "wait"):
        answer = visitor.post(f"/api/v1/predict/toy?{name}={deadline}", content=b"x")

        assert answer.status_code == 422, answer.text


# Identity


@pytest.mark.parametrize(
    "cookie", [b"\xff\xfe", "é".encode(), b"a.1.b", b"..", b"u.9.\xc3\xa9", b'"']
)
def test_a_cookie_that_is_none_of_ours_is_somebody_new(stack: Stack, cookie: bytes) -> None:
    known = httpx.get(f"{stack.url}/api/v1/models").headers["set-cookie"].partition("=")[0].encode()

    for value in (known + b"=" + cookie, b"other=" + cookie):
        answer = httpx.get(f"{stack.url}/api/v1/models", headers={b"cookie": value})

        assert answer.status_code == 200 and "set-cookie" in answer.headers


def test_our_cookie_is_found_among_others(visitor: httpx.Client) -> None:
    own = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    visitor.cookies.clear()

    answer = visitor.get("/api/v1/models", headers={"Cookie": f'a="x;y"; {own}; b=\xe9'.encode()})

    assert answer.status_code == 200 and "set-cookie" not in answer.headers


@pytest.mark.parametrize("key", ["a b", "é", "a" * 300, "../x", "<b>"])
def test_a_key_of_no_form_is_not_known(stack: Stack, key: str) -> None:
    for path in ("/api/v1/models",):
        answer = httpx.get(
            f"{stack.url}{path}", headers={b"Authorization": f"Bearer {key}".encode()}
        )

        assert answer.status_code in (400, 401)
        assert "error" in answer.json()


# Closed routes


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/ui/gradio_api/upload"),
        ("POST", "/ui/gradio_api/upload/"),
        ("GET", "/ui/gradio_api/file=/etc/passwd"),
        ("GET", "/ui/gradio_api/file=0/a/b"),
        ("GET", f"/ui/gradio_api/file={'0' * 32}/../b"),
        ("POST", f"/ui/gradio_api/file={'0' * 32}/a/b"),
        ("GET", "/ui/gradio_api/proxy=http:/127.0.0.1/"),
        ("GET", "/ui/gradio_api/info/"),
        ("GET", "/ui/gradio_api/queue/join"),
        ("POST", "/ui/gradio_api/queue/data"),
        ("POST", "/ui/gradio_api/call/predict"),
        ("POST", "/ui/gradio_api/call/run"),
        ("GET", "/ui/config/"),
        ("GET", "/ui/monitoring"),
        ("POST", "/ui/gradio_api/component_server"),
        ("GET", "/ui/gradio_api/startup-events"),
        ("GET", "/ui/login"),
        ("GET", "/ui/logout"),
        ("GET", "/ui/openapi.json"),
        ("POST", "/ui/gradio_api/run/predict/"),
        ("POST", "/ui/gradio_api/run/other"),
        ("GET", "/ui/gradio_api/heartbeat/abc"),
        ("GET", "/ui/gradio_api/reset"),
        ("POST", "/ui/gradio_api/stream/abc"),
        ("GET", "/redoc"),
        ("GET", "/docs/oauth2-redirect"),
    ],
)
def test_what_the_page_does_not_need_is_not_there(stack: Stack, method: str, path: str) -> None:
    answer = httpx.request(method, f"{stack.url}{path}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_the_page_and_its_one_call_are_there(stack: Stack) -> None:
    call = {"data": ["toy"], "fn_index": 0, "trigger_id": 4, "session_hash": "abc123"}

    assert httpx.get(f"{stack.url}/ui/").status_code == 200
    assert httpx.get(f"{stack.url}/ui/theme.css").status_code == 200
    answer = httpx.post(f"{stack.url}/ui/gradio_api/run/predict", json=call, timeout=30)
    assert answer.status_code == 200, answer.text


# Answers


def test_every_answer_has_the_security_headers(stack: Stack, visitor: httpx.Client) -> None:
    picture = visitor.post("/api/v1/predict/toy?wait=100&gain=1.5", content=PHOTO).json()["result"][
        "objects"
    ]["preview"]["url"]
    paths = [
        "/",
        "/ui/",
        "/api/v1/models",
        "/api/v1/jobs/x",
        "/docs",
        "/openapi.json",
        "/login",
        "/healthz",
        "/nowhere",
        "/ui/config",
        "/examples/chelsea.jpg",
        urlsplit(picture).path,
        picture.removeprefix(stack.url),
    ]

    for path in paths:
        headers = visitor.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "same-origin", path
        assert headers["x-frame-options"] == "DENY", path
        assert headers["cross-origin-opener-policy"] == "same-origin", path
        is_picture = "X-Amz" in path or path.startswith("/pixelmill/")
        own = "cross-origin" if is_picture else "same-origin"
        assert headers["cross-origin-resource-policy"] == own, path
        camera = "camera=(self)" if path.startswith("/ui") else "camera=()"
        assert headers["permissions-policy"].startswith(camera), path
        assert "'unsafe-inline'" not in scripts_of(headers["content-security-policy"]), path
        assert len(headers.get_list("x-content-type-options")) == 1, path
    assert "sandbox" in visitor.get(picture).headers["content-security-policy"]


def test_scripts_have_the_security_headers_that_count_for_scripts(visitor: httpx.Client) -> None:
    assets = set(re.findall(r"assets/[\w-]+\.js", visitor.get("/ui/").text))
    assert assets

    for path in ("/static/page.js", "/static/page.css", *(f"/ui/{asset}" for asset in assets)):
        headers = visitor.get(path).headers
        policy = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; script-src 'self'"
        assert headers["content-security-policy"] == policy, path
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "same-origin", path
        assert headers["cross-origin-resource-policy"] == "same-origin", path


def scripts_of(policy: str) -> str:
    """Where scripts may come from."""
    directives = dict(part.strip().partition(" ")[::2] for part in policy.split(";"))
    return directives.get("script-src", directives["default-src"])


def test_inline_scripts_of_the_page_run_by_a_nonce_that_no_other_answer_has(
    visitor: httpx.Client,
) -> None:
    pages = [visitor.get("/ui/") for _ in range(2)]

    nonces = [
        re.findall(r"'nonce-([\w-]{22})'", page.headers["content-security-policy"])
        for page in pages
    ]
    assert nonces[0] != nonces[1]
    for page, [nonce] in zip(pages, nonces, strict=True):
        assert set(re.findall(r"<script[^>]*", page.text)) and all(
            f'nonce="{nonce}"' in tag for tag in re.findall(r"<script[^>]*", page.text)
        )


def test_the_description_runs_no_script_from_elsewhere(visitor: httpx.Client) -> None:
    page = visitor.get("/docs")

    assert "http" not in page.text.replace("http-equiv", ""), "nothing is named by a whole address"
    assert "script-src 'self';" in page.headers["content-security-policy"]
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert visitor.get(f"/docs/assets/{asset}").status_code == 200
    assert "openapi.json" in visitor.get("/static/docs/start.js").text


# Addresses


def test_an_address_is_signed_for_one_length_or_not_at_all(
    stack: Stack, visitor: httpx.Client
) -> None:
    named = {"sha256": os.urandom(32).hex(), "model": "toy"}

    without = visitor.post("/api/v1/jobs", json=named)
    with_size = visitor.post("/api/v1/jobs", json={**named, "size": 9})

    assert (without.status_code, with_size.status_code) == (409, 409)
    assert without.json()["upload"] is None and "size" in without.json()["error"]["hint"]
    url = with_size.json()["upload"]["url"]
    assert "content-length" in url
    assert (
        httpx.put(url, content=bytes(10), headers={"Content-Type": "image/jpeg"}).status_code == 403
    )


def test_messages_name_no_address_of_ours(stack: Stack, visitor: httpx.Client) -> None:
    """S3 is stopped: the error names neither hosts, ports nor keys; only the log does."""
    with stack.hanging("s3"):
        upload = visitor.post("/api/v1/uploads", json={"size": 9}).json()["upload"]["id"]
        answer = visitor.post("/api/v1/jobs", json={"upload": upload, "model": "toy"})
    time.sleep(1)

    assert answer.status_code == 503
    assert not any(
        secret in answer.text for secret in ("127.0.0.1", str(stack.ports["s3"]), "in/", "head")
    )
    assert b"storage down" in (stack.folder / "web.log").read_bytes()


def test_the_page_of_a_wrong_address_may_load_its_style_and_no_script(
    visitor: httpx.Client,
) -> None:
    answer = visitor.get("/nothing", headers={"accept": "text/html"})

    policy = answer.headers["content-security-policy"]
    assert answer.status_code == 404 and "There is nothing here" in answer.text
    assert "default-src 'none'; style-src 'self'; img-src 'self'" in policy
    assert "script-src" not in policy


def test_ids_of_no_form_answer_as_those_of_others(visitor: httpx.Client) -> None:
    for odd in ("0" * 32, "x", "0" * 33, "A" * 32, "é"):
        for answer in (
            visitor.get(f"/api/v1/jobs/{odd}"),
            visitor.delete(f"/api/v1/jobs/{odd}"),
            visitor.post(f"/api/v1/jobs/{odd}/cancel"),
            visitor.get(f"/api/v1/jobs/{odd}/events"),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_job")
            assert set(answer.json()["error"]) == {"code", "message", "hint"}
