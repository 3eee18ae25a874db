"""Sign-in at an OpenID provider: a real one, and tokens that must not be believed."""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey
from stack import Stack, free_port
from waiting import wait_until

from storage import users
from storage.redis.calls import SyncRedis
from tasks.settings import settings
from web.oidc import Provider, Refused, person

pytest_plugins = ["inprocess"]

ISSUER, CLIENT = "https://login.example", "pixelmill"
PATIENCE_S = 60.0  # for a busy machine
get, post = partial(httpx.get, timeout=PATIENCE_S), partial(httpx.post, timeout=PATIENCE_S)


class Mill:
    """A web process whose people sign in at a provider."""

    def __init__(self, web: Stack, issuer: str) -> None:
        self.url, self.issuer = web.url, issuer
        self.link = SyncRedis(web.state)
        self.browsers: list[httpx.Client] = []

    def claims(self, sub: str, **claims: Any) -> None:
        address = f"{self.issuer}/users/{sub}"
        httpx.put(address, json=claims, timeout=PATIENCE_S).raise_for_status()

    def browser(self) -> httpx.Client:
        self.browsers.append(httpx.Client(base_url=self.url, timeout=PATIENCE_S))
        return self.browsers[-1]

    def to_provider(self, browser: httpx.Client, sub: str, **form: str) -> str:
        """The address to which the provider sends the browser back."""
        begun = browser.get("/login/start")
        assert begun.status_code == 303, begun.text
        answer = post(begun.headers["location"], data={"sub": sub, **form})
        assert answer.status_code == 302, answer.text
        return str(answer.headers["location"])

    def sign_in(self, sub: str) -> tuple[httpx.Client, httpx.Response]:
        browser = self.browser()
        return browser, browser.get(self.to_provider(browser, sub))

    def role(self, browser: httpx.Client) -> str:
        page = browser.get("/account", follow_redirects=False)
        if page.status_code != 200:
            return "nobody"
        return "admin" if "<p>Admin</p>" in page.text else "user"


@pytest.fixture(scope="module")
def mill(servers: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mill]:
    web, port = Stack(Path(tmp_path_factory.mktemp("oidc"))), free_port()
    web.use_servers_of(servers)
    issuer = f"http://127.0.0.1:{port}"
    web.env |= {
        "PIXELMILL_AUTH": "oidc",
        "PIXELMILL_OIDC_ISSUER": issuer,
        "PIXELMILL_OIDC_CLIENT_ID": CLIENT,
        "PIXELMILL_OIDC_CLIENT_SECRET": "secret-of-the-client",
        "PIXELMILL_ADMIN_GROUPS": "photo-admins",
    }
    with web:
        script = str(Path(__file__).parent / "oidc_provider.py")
        web.start("provider", [sys.executable, script, str(port)])
        web.wait_for("provider", lambda: httpx.get(f"{issuer}/jwks").status_code == 200)
        web.start_web()
        mill = Mill(web, issuer)
        yield mill
        for browser in mill.browsers:
            browser.close()


def test_whoever_the_provider_names_is_signed_in(mill: Mill) -> None:
    browser, answer = mill.sign_in("ada")

    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/")
    assert browser.get("/api/v1/models").status_code == 200
    assert browser.get("/ui/").status_code == 200
    assert mill.role(browser) == "user"
    user = mill.link.do(users.user("ada"))
    assert user and user.kind == "oidc" and user.signed_in_ms > 0
    assert "Present password" not in browser.get("/account").text


def test_strangers_are_led_to_the_provider(mill: Mill) -> None:
    page = get(f"{mill.url}/ui/")
    form = get(f"{mill.url}/login")
    begun = get(f"{mill.url}/login/start")

    assert page.headers["location"] == "/login" and "/login/start" in form.text
    asked = parse_qs(urlsplit(begun.headers["location"]).query)
    assert asked["code_challenge_method"] == ["S256"] and asked["state"] and asked["nonce"]
    assert asked["redirect_uri"] == [f"{mill.url}/login/callback"]
    assert "HttpOnly" in begun.headers["set-cookie"]
    assert get(f"{mill.url}/api/v1/models").status_code == 401


def test_groups_make_admins_and_take_it_back_at_the_next_sign_in(mill: Mill) -> None:
    mill.claims("grace", groups=["photo-admins", "others"])
    first, _ = mill.sign_in("grace")
    assert mill.role(first) == "admin"

    mill.claims("grace", groups=["others"])
    second, _ = mill.sign_in("grace")

    assert mill.role(second) == "user"
    wait_until(lambda: mill.role(first) == "nobody")  # what she was is over in her other browsers


def test_an_answer_of_the_provider_signs_in_the_browser_that_asked_and_once(mill: Mill) -> None:
    ada, other = mill.browser(), mill.browser()
    back = mill.to_provider(ada, "ada")
    other.get("/login/start")

    stolen = other.get(back)
    no_cookie = get(back)
    own = ada.get(back)
    again = ada.get(back)

    assert (stolen.status_code, no_cookie.status_code, own.status_code) == (400, 400, 303)
    assert again.status_code == 400
    assert mill.role(other) == "nobody"


def test_whoever_declines_at_the_provider_is_told_so(mill: Mill) -> None:
    browser = mill.browser()

    answer = browser.get(mill.to_provider(browser, "ada", action="deny"))

    assert answer.status_code in (400, 403) and "Sign in" in answer.text
    assert mill.role(browser) == "nobody"


def test_a_name_of_the_provider_opens_no_account_of_that_name_here(mill: Mill) -> None:
    mill.link.do(users.set_password("local-admin", "correct horse"))

    browser, answer = mill.sign_in("local-admin")

    assert answer.status_code == 403 and "has your name" in answer.text
    assert mill.role(browser) == "nobody"


def test_somebody_disabled_here_is_refused_whatever_the_provider_says(mill: Mill) -> None:
    browser, _ = mill.sign_in("eve")
    mill.link.do(users.set_disabled("eve", True))

    _, answer = mill.sign_in("eve")

    assert answer.status_code == 403 and "disabled" in answer.text
    wait_until(lambda: mill.role(browser) == "nobody")


def test_signing_out_ends_the_session_here_and_leads_to_the_providers_sign_out(
    mill: Mill,
) -> None:
    browser, _ = mill.sign_in("ada")

    left = browser.post("/logout")

    delay, _, address = left.headers["refresh"].partition("; url=")
    asked = parse_qs(urlsplit(address).query)
    form = get(address)
    confirmed = {"redirect_uri": asked["post_logout_redirect_uri"][0]}
    back = post(f"{mill.issuer}/oauth2/end_session/confirm", data=confirmed)
    assert mill.role(browser) == "nobody"
    assert left.status_code == 200 and delay == "0" and address.startswith(mill.issuer)
    assert asked["client_id"] == [CLIENT] and '"storage"' in left.headers["clear-site-data"]
    assert form.status_code == 200 and "not set" not in form.text, "it has the ID token"
    assert back.headers["location"] == f"{mill.url}/login"


def test_no_password_is_taken(mill: Mill) -> None:
    answer = post(f"{mill.url}/login", data={"user": "local-admin", "password": "x"})

    assert answer.status_code == 422 and "set-cookie" not in answer.headers


# Without a provider


@pytest.mark.parametrize(
    "address", [None, 7, "", "javascript:alert(1)", "https://a/\n", "https://a;b"]
)
async def test_a_provider_without_an_address_to_sign_out_at_is_not_asked(
    provider: Provider, address: object
) -> None:
    provider._metadata, provider._until_s = {"end_session_endpoint": address}, float("inf")

    assert await provider.sign_out_address("https://mill.example/login", "token") == ""


@pytest.fixture
def provider(in_process: None, monkeypatch: pytest.MonkeyPatch) -> Provider:
    for name, value in {"oidc_issuer": ISSUER, "oidc_client_id": CLIENT}.items():
        monkeypatch.setattr(settings(), name, value)
    provider = Provider()
    provider._keys = KeySet([KEY])

    async def read() -> None:
        pass

    monkeypatch.setattr(provider, "_read", read)
    return provider


KEY, OTHER_KEY = (RSAKey.generate_key(2048, {"kid": kid}, private=True) for kid in "ab")
CLAIMS = {"iss": ISSUER, "aud": CLIENT, "sub": "ada", "nonce": "n", "iat": 0, "exp": 2**31}


def token(claims: dict[str, Any], key: Any = KEY, algorithm: str = "RS256") -> dict[str, str]:
    header = {"alg": algorithm, "kid": key.kid or "a"}
    text = jwt.encode(header, claims, key, algorithms=[algorithm])
    return {"id_token": text, "access_token": "x"}


async def test_a_right_token_is_believed(provider: Provider) -> None:
    assert (await provider._claims(token(CLAIMS), "n"))["sub"] == "ada"


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://evil.example"},
        {"aud": "another client"},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"nonce": "of another sign-in"},
        {"exp": 1},
        {"iat": None},
        {"sub": None},
        {"nonce": None},
    ],
)
async def test_a_token_for_somebody_else_or_another_time_is_not(
    provider: Provider, wrong: dict[str, Any]
) -> None:
    claims = {name: value for name, value in {**CLAIMS, **wrong}.items() if value is not None}

    with pytest.raises(Exception, match=r"(?i)claim|expired|missing|invalid"):
        await provider._claims(token(claims), "n")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"acr": "mfa", "auth_time": 990}, ""),
        ({"acr": "phr", "auth_time": 990}, ""),
        ({"acr": "password", "auth_time": 990}, "as strongly"),
        ({"auth_time": 990}, "as strongly"),
        ({"acr": ["mfa"], "auth_time": 990}, "as strongly"),
        ({"acr": "mfa", "auth_time": 600}, "too long ago"),
        ({"acr": "mfa"}, "too long ago"),
    ],
    ids=str,
)
async def test_a_weaker_or_older_sign_in_than_is_asked_for_is_refused(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], reason: str
) -> None:
    monkeypatch.setattr(settings(), "oidc_acr_values", "phr mfa")
    monkeypatch.setattr(settings(), "oidc_max_age_s", 300)
    monkeypatch.setattr("web.oidc.time", lambda: 1000)
    monkeypatch.setattr(
        provider, "_metadata", {"authorization_endpoint": "https://login.example/authorize"}
    )
    asked = parse_qs(urlsplit((await provider.begin("https://mill.example/x")).url).query)
    assert (asked["acr_values"], asked["max_age"]) == (["phr mfa"], ["300"])

    refusal = ""
    try:
        await provider._claims(token({**CLAIMS, **said}), "n")
    except Refused as error:
        refusal = str(error)
    assert bool(refusal) == bool(reason) and reason in refusal


@pytest.mark.parametrize("kind", ["another key", "our secret", "none"])
async def test_a_token_that_the_provider_did_not_sign_is_not(provider: Provider, kind: str) -> None:
    made = {
        "another key": lambda: token(CLAIMS, OTHER_KEY),
        "our secret": lambda: token(CLAIMS, OctKey.import_key("secret-of-the-client"), "HS256"),
        "none": lambda: {
            "id_token": "eyJhbGciOiJub25lIn0." + token(CLAIMS)["id_token"].split(".")[1] + ".",
            "access_token": "x",
        },
    }[kind]()

    with pytest.raises(Exception):  # noqa: B017  # each names its own reason
        await provider._claims(made, "n")


def test_a_name_is_taken_from_the_claim_of_the_settings(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings(), "oidc_user_claim", "email")
    claims = {**CLAIMS, "email": "ada@example.com", "email_verified": True}

    assert person(claims).user == "ada@example.com"
    for wrong in ({"email_verified": False}, {"email": ""}, {"email": 7}):
        with pytest.raises(Refused):
            person({**claims, **wrong})


def test_a_name_that_no_user_can_have_becomes_one_that_stays_the_same(provider: Provider) -> None:
    odd, visitor = ({**CLAIMS, "sub": sub} for sub in ("auth0|5f7c8ec7", "u" + "0" * 24))

    assert person(odd).user == person(odd).user != person(visitor).user
    assert person(odd).user.startswith("oidc-") and person(visitor).user.startswith("oidc-")
