"""A proxy in front names the user: from its own address only."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from stack import API_KEY, Stack

from storage import users
from storage.redis.calls import SyncRedis
from tasks.errors import BadInput
from tasks.settings import Settings, settings
from web.middleware.proxy_header import named_by_proxy
from web.middleware.validation import HEAD

pytest_plugins = ["inprocess"]


@pytest.fixture(scope="module")
def mill(servers: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A web process that this machine stands in front of."""
    web = Stack(Path(tmp_path_factory.mktemp("proxy")))
    web.use_servers_of(servers)
    web.env |= {
        "PIXELMILL_AUTH": "proxy",
        "PIXELMILL_PROXY_ADDRESSES": "127.0.0.1",
        "PIXELMILL_ADMIN_GROUPS": "photo-admins",
    }
    with web:
        web.start_web()
        yield web


def ask(mill: Stack, *headers: tuple[str, str], path: str = "/api/v1/models") -> httpx.Response:
    return httpx.get(f"{mill.url}{path}", headers=list(headers))


def test_whom_the_proxy_names_is_signed_in(mill: Stack) -> None:
    ada = ("X-Forwarded-User", "ada@example.com")

    assert ask(mill, ada).status_code == 200
    assert ask(mill, ada, path="/ui/").status_code == 200
    page = ask(mill, ada, path="/account").text
    assert "ada@example.com" in page and "<p>User</p>" in page and "password" not in page
    user = SyncRedis(mill.state).do(users.user("ada@example.com"))
    assert user and user.kind == "proxy"


def test_whom_it_does_not_name_gets_nothing_but_by_a_key(mill: Stack) -> None:
    key = ("Authorization", f"Bearer {API_KEY}")

    assert ask(mill).status_code == 401
    assert ask(mill, path="/ui/").headers["location"] == "/login"
    assert ask(mill, path="/login").status_code == 200
    assert ask(mill, key).status_code == 200


def test_groups_make_admins(mill: Stack) -> None:
    hopper, groups = ("X-Forwarded-User", "hopper"), ("X-Forwarded-Groups", "a,photo-admins")

    assert "<p>Admin</p>" in ask(mill, hopper, groups, path="/account").text
    twice = ask(mill, ("X-Forwarded-User", "mallory"), groups, groups, path="/account")
    assert "<p>User</p>" in twice.text, "one of them may be what a client has sent"


@pytest.mark.parametrize(
    "names", [["ada", "eve"], ["../ada"], ["u" + "0" * 24], [""], ["a" * 65]], ids=str
)
def test_two_names_or_one_of_no_form_are_refused(mill: Stack, names: list[str]) -> None:
    answer = ask(mill, *[("X-Forwarded-User", name) for name in names])

    assert answer.status_code == 400 and answer.json()["error"]["code"] == "bad_request"


def test_somebody_disabled_here_is_refused(mill: Stack) -> None:
    link = SyncRedis(mill.state)
    link.do(users.provision("off", "proxy"))
    link.do(users.set_disabled("off", True))

    answer = ask(mill, ("X-Forwarded-User", "off"))

    assert answer.status_code == 403 and answer.json()["error"]["code"] == "not_allowed"


def test_its_word_opens_no_account_with_a_password(mill: Stack) -> None:
    link, named = SyncRedis(mill.state), ("X-Forwarded-User", "admin-here")
    link.do(users.set_password("admin-here", "correct horse"))

    refused = ask(mill, named)

    assert refused.status_code == 403 and "pixelmill users sign-in" in refused.text
    link.do(users.set_kind("admin-here", "proxy"))
    time.sleep(2.5)
    assert ask(mill, named).status_code == 200
    assert link.do(users.credentials("admin-here")).password is None


@pytest.mark.parametrize(
    ("client", "is_heard"),
    [
        (("10.1.2.3", 1), True),
        (("10.2.0.1", 1), False),
        (("::ffff:10.1.2.3", 1), True),
        (("2001:db8::5", 1), True),
        (("2001:db9::5", 1), False),
        (("testclient", 1), False),
        (None, True),
    ],
)
def test_only_named_addresses_are_heard_whatever_headers_say(
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
    client: tuple[str, int] | None,
    is_heard: bool,
) -> None:
    monkeypatch.setattr(settings(), "proxy_addresses", "10.1.0.0/16, 2001:db8::/32,unix")
    headers = [(b"x-forwarded-user", b"ada"), (b"x-forwarded-for", b"10.1.2.3")]
    scope: dict[str, Any] = {"client": client, "headers": headers, HEAD: dict(headers)}

    assert (named_by_proxy(scope) == ("ada", None)) is is_heard


def test_a_unix_socket_is_heard_only_if_it_is_named(
    in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings(), "proxy_addresses", "10.1.0.0/16")
    headers = [(b"x-forwarded-user", b"ada")]

    assert named_by_proxy({"client": None, "headers": headers, HEAD: dict(headers)}) is None


def test_a_visitors_name_is_nobodys(in_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings(), "proxy_addresses", "unix")
    headers = [(b"x-forwarded-user", b"u" + b"0" * 24)]

    with pytest.raises(BadInput):
        named_by_proxy({"client": None, "headers": headers, HEAD: dict(headers)})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"auth": "proxy"}, "proxy_addresses"),
        ({"auth": "proxy", "proxy_addresses": "10.0.0.0/99"}, "proxy_addresses"),
        ({"auth": "oidc", "oidc_client_id": "x"}, "oidc_issuer"),
        ({"auth": "oidc", "oidc_issuer": "https://login.example"}, "oidc_client_id"),
    ],
)
def test_a_mode_without_what_it_needs_does_not_start(given: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Settings(_env_file=None, **given)  # type: ignore[call-arg]
