"""What browsers and intermediaries are told, by every kind of answer: docs/security.md has the
requirements."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from stack import Stack

from storage import users
from storage.redis import calls

NAME, PASSWORD = "erika", "correct horse battery staple"
PAGES = ["/ui/", "/docs", "/login", "/logout"]
OTHERS = [
    "/", "/api/v1/models", "/openapi.json", "/static/page.js", "/static/login.css", "/healthz",
    "/metrics", "/nowhere", "/pixelmill/in/a/b", "/examples/chelsea.jpg", "/s/none",
]  # fmt: skip


@pytest.fixture(scope="module")
def behind_tls(servers: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A web process that people reach by https, through a proxy, and where they sign in."""
    web = Stack(Path(tmp_path_factory.mktemp("tls")))
    web.use_servers_of(servers)
    web.env |= {
        "PIXELMILL_AUTH": "accounts",
        "PIXELMILL_PUBLIC_URL": "https://mill.example",
    }
    web.secrets.add(PASSWORD)
    calls.SyncRedis(servers.state).do(users.add(NAME, PASSWORD))
    with web:
        web.start_web()
        yield web.url


def sign_in(url: str) -> httpx.Response:
    return httpx.post(f"{url}/login", data={"user": NAME, "password": PASSWORD})


def raw(stack: Stack, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", stack.ports["web"]), timeout=20) as connection:
        connection.sendall(request)
        data = b""
        while chunk := connection.recv(65_536):
            data += chunk
    return data


def test_cookies_are_for_this_host_over_https_and_for_no_script(behind_tls: str) -> None:
    answer = sign_in(behind_tls)

    cookies = answer.headers.get_list("set-cookie")
    assert answer.status_code == 303 and cookies
    for cookie in cookies:
        name, flags = cookie.partition("=")[0], set(cookie.split("; ")[1:])
        assert {"Secure", "HttpOnly", "SameSite=Lax"} <= flags
        assert not [flag for flag in flags if flag.startswith("Domain")]
        is_host_cookie = name.startswith("__Host-") and "Path=/" in flags
        assert is_host_cookie or (name.startswith("__Secure-") and "Path=/login" in flags)


def test_a_cookie_by_its_name_without_https_is_nobodys(behind_tls: str) -> None:
    name, _, value = sign_in(behind_tls).headers["set-cookie"].split(";")[0].partition("=")

    def status(name: str) -> int:
        headers = {"cookie": f"{name}={value}"}
        return httpx.get(f"{behind_tls}/api/v1/models", headers=headers).status_code

    assert status(name) == 200
    assert status(name.removeprefix("__Host-")) == 401


def test_browsers_come_back_by_https_to_this_host_and_those_below_it(behind_tls: str) -> None:
    for path in [*PAGES, *OTHERS]:
        hsts = httpx.get(behind_tls + path).headers["strict-transport-security"]
        assert hsts == "max-age=31536000; includeSubDomains", path


@pytest.mark.parametrize("path", [*PAGES, *OTHERS])
def test_every_answer_has_a_policy_that_loads_no_object_and_no_other_base(
    stack: Stack, path: str
) -> None:
    policy = httpx.get(stack.url + path).headers["content-security-policy"]

    directives = dict(part.strip().partition(" ")[::2] for part in policy.split(";"))
    assert directives.get("object-src", directives["default-src"]) == "'none'"
    # Gradio writes `<base href="./">` into its page.
    assert directives["base-uri"] == ("'self'" if path == "/ui/" else "'none'")
    assert directives["frame-ancestors"] == "'none'"


@pytest.mark.parametrize("path", [*PAGES, *OTHERS])
def test_text_says_in_which_encoding_it_is(stack: Stack, path: str) -> None:
    answer = httpx.get(stack.url + path)

    kind = answer.headers.get("content-type", "")
    assert kind or not answer.content
    assert "charset=utf-8" in kind or not kind.startswith("text/")


@pytest.mark.parametrize("path", ["/static/", "/examples/", "/docs/assets/", "/pixelmill/"])
def test_no_folder_is_listed(stack: Stack, path: str) -> None:
    answer = httpx.get(stack.url + path)

    assert answer.status_code in (403, 404)
    assert "page.js" not in answer.text and "chelsea" not in answer.text


@pytest.mark.parametrize("path", ["/.git/config", "/.env", "/var/env", "/static/.git/HEAD"])
def test_nothing_of_the_checkout_is_served(stack: Stack, path: str) -> None:
    assert httpx.get(stack.url + path).status_code == 404


def test_trace_repeats_nothing(stack: Stack) -> None:
    answer = httpx.request("TRACE", f"{stack.url}/api/v1/models", headers={"x-odd": "repeated"})

    assert answer.status_code == 405 and "repeated" not in answer.text


def test_no_answer_names_a_program_or_its_version(stack: Stack) -> None:
    for path in [*PAGES, *OTHERS]:
        headers = httpx.get(stack.url + path).headers
        assert "server" not in headers and "x-powered-by" not in headers, path


def test_a_request_with_two_lengths_is_no_way_to_smuggle_another(stack: Stack) -> None:
    smuggled = b"0\r\n\r\nGET /api/v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    head = b"POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    both = b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"

    data = raw(stack, head + both % len(smuggled) + smuggled)

    assert data.count(b"HTTP/1.1 ") <= 1 and b'"models"' not in data


def test_forms_for_passwords_hide_them_and_let_managers_fill_them_in(behind_tls: str) -> None:
    for path in ("/login", "/account"):
        cookies = {"cookie": sign_in(behind_tls).headers["set-cookie"].split(";")[0]}
        page = httpx.get(behind_tls + path, headers=cookies)
        fields = [
            part for part in page.text.split("<input") if "password" in part.partition(">")[0]
        ]
        assert page.status_code == 200 and fields
        for field in fields:
            assert 'type="password"' in field and 'autocomplete="' in field
        assert "<script" not in page.text, "nothing can forbid to paste"
