"""Where open mode is off: nobody without a sign-in, and the sign-in itself."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from stack import Stack

from storage import users
from storage.redis import calls


@pytest.fixture(scope="module")
def closed(servers: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A web process that asks who is there; its address."""
    web = Stack(Path(tmp_path_factory.mktemp("closed")))
    web.use_servers_of(servers)
    web.env |= {
        "PIXELMILL_AUTH": "accounts",
        "PIXELMILL_PUBLIC_URL": "https://mill.example",
    }
    calls.SyncRedis(servers.state).do(users.set_password("admin", "right"))
    with web:
        web.start_web()
        yield web.url


def test_nobody_gets_in_unasked(closed: str) -> None:
    api = httpx.get(f"{closed}/api/v1/models")
    page = httpx.get(f"{closed}/ui/")

    assert api.status_code == 401 and "/login" in api.json()["error"]["hint"]
    assert page.status_code == 303 and page.headers["location"] == "/login"
    assert "Password" in httpx.get(f"{closed}/login").text


def test_the_right_password_opens_page_and_api(closed: str) -> None:
    answer = httpx.post(f"{closed}/login", data={"user": "admin", "password": "right"})
    cookie = {"cookie": answer.headers["set-cookie"].split(";")[0]}

    assert answer.status_code == 303
    assert {"HttpOnly", "SameSite=Lax", "Secure"} <= set(answer.headers["set-cookie"].split("; "))
    assert httpx.get(f"{closed}/ui/", headers=cookie).status_code == 200
    assert httpx.get(f"{closed}/api/v1/models", headers=cookie).status_code == 200


@pytest.mark.parametrize(("user", "password"), [("admin", "wrong"), ("<b>", "right")])
def test_a_wrong_one_opens_nothing(closed: str, user: str, password: str) -> None:
    answer = httpx.post(f"{closed}/login", data={"user": user, "password": password})

    assert answer.status_code == 401 and "set-cookie" not in answer.headers
    assert "<b>" not in answer.text


def test_another_sites_form_signs_nobody_in(closed: str) -> None:
    foreign = {"origin": "https://evil.example"}

    answer = httpx.post(
        f"{closed}/login", data={"user": "admin", "password": "right"}, headers=foreign
    )

    assert answer.status_code == 403


def test_a_forged_cookie_is_nobodys(closed: str) -> None:
    signed_in = httpx.post(f"{closed}/login", data={"user": "admin", "password": "right"})
    name, _, value = signed_in.headers["set-cookie"].split(";")[0].partition("=")
    forged = value.replace("admin", "other")

    answer = httpx.get(f"{closed}/api/v1/models", headers={"cookie": f"{name}={forged}"})

    assert answer.status_code == 401


def test_signing_out_forgets(closed: str) -> None:
    asked = httpx.get(f"{closed}/logout")
    answer = httpx.post(f"{closed}/logout")

    assert asked.status_code == 200 and "set-cookie" not in asked.headers, "a link is not enough"
    assert answer.headers["location"] == "/login" and "Max-Age=0" in answer.headers["set-cookie"]
    assert answer.headers["clear-site-data"] == '"cache", "storage"', "the next person sees nothing"


def test_the_pages_own_origin_is_the_one_that_people_type(closed: str) -> None:
    form = {"user": "admin", "password": "right"}

    def sign_in(origin: str) -> int:
        headers = {"Host": "mill.example", "Origin": origin}
        return httpx.post(f"{closed}/login", data=form, headers=headers).status_code

    assert sign_in("https://mill.example") == 303
    assert sign_in("http://mill.example") == 403, "another scheme is another origin"
    assert sign_in("https://mill.example:444") == 403


def test_browsers_keep_to_https_where_people_type_it(closed: str) -> None:
    for path in ("/login", "/healthz", "/api/v1/models"):
        assert "max-age=" in httpx.get(f"{closed}{path}").headers["strict-transport-security"]


@pytest.mark.parametrize("user", ["a\x00b", "a\nb", "é", "../x", "a" * 10_000])
def test_a_name_of_no_form_is_as_wrong_as_any_other(closed: str, user: str) -> None:
    answer = httpx.post(f"{closed}/login", data={"user": user, "password": "right"})

    assert answer.status_code == 401 and "wrong" in answer.text
    assert user not in answer.text
