"""GET /me and API keys by the API, on a whole installation with two web processes."""

import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from stack import Stack

from storage import api_keys, audit, users
from storage.redis.calls import SyncRedis

ME = "/api/v1/me"
KEYS = f"{ME}/keys"
ADA, ADMIN = "pm_key-of-ada", "pm_key-of-an-admin"
REVOKED_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A web process with both Redis and S3, and nobody who works; accounts are on."""
    with Stack(tmp_path_factory.mktemp("me"), {"PIXELMILL_AUTH": "accounts"}) as mill:
        mill.start_servers()
        link = SyncRedis(mill.state)
        link.do(users.set_password("ada", "secret", role="user"))
        link.do(users.set_password("root", "secret", role="admin"))
        for key, user in ((ADA, "ada"), (ADMIN, "root")):
            link.do(api_keys.add(key, user))
        mill.start_web()
        yield mill


@pytest.fixture
def client(mill: Stack) -> Iterator[Callable[[str], httpx.Client]]:
    """Makes clients that send a key."""
    opened: list[httpx.Client] = []

    def make(key: str, url: str = "") -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"}
        opened.append(httpx.Client(base_url=url or mill.url, headers=headers))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def new_key(ada: httpx.Client, **asked: object) -> str:
    answer = ada.post(KEYS, json=asked)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


def test_me_says_who_one_is(client: Callable[[str], httpx.Client]) -> None:
    body = client(ADA).get(ME).json()

    assert (body["user"], body["kind"], body["role"]) == ("ada", "key", "user")
    assert body["scopes"] == ["run", "read", "admin"]


def test_a_new_key_is_shown_once(client: Callable[[str], httpx.Client]) -> None:
    ada = client(ADA)
    made = ada.post(KEYS, json={"name": "laptop", "days": 30}).json()

    listed = {key["id"]: key for key in ada.get(KEYS).json()["keys"]}[made["id"]]

    assert made["key"].startswith(made["prefix"])
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert (listed["name"], listed["scopes"], listed["last_used"]) == (
        "laptop", ["run", "read"], None,
    )  # fmt: skip
    assert made["key"] not in ada.get(KEYS).text
    assert client(made["key"]).get(ME).json()["scopes"] == ["run", "read"]


def test_the_answer_with_a_key_is_kept_by_no_cache(client: Callable[[str], httpx.Client]) -> None:
    assert client(ADA).post(KEYS, json={}).headers["cache-control"] == "no-store"


def test_a_used_key_says_when(client: Callable[[str], httpx.Client]) -> None:
    ada = client(ADA)
    key = new_key(ada, name="used")

    client(key).get(ME)

    [used] = [item for item in ada.get(KEYS).json()["keys"] if item["name"] == "used"]
    assert used["last_used"]


@pytest.mark.parametrize(
    ("scopes", "method", "path", "needs"),
    [
        (["read"], "POST", "/api/v1/uploads", "run"),
        (["read"], "DELETE", f"/api/v1/jobs/{'0' * 32}", "run"),
        (["run"], "GET", "/api/v1/models", "read"),
        (["run"], "GET", f"/api/v1/jobs/{'0' * 32}/events", "read"),
        (["run", "read"], "GET", KEYS, "admin"),
        (["run", "read"], "POST", KEYS, "admin"),
    ],
)
def test_a_key_without_the_scope_is_refused(
    client: Callable[[str], httpx.Client], scopes: list[str], method: str, path: str, needs: str
) -> None:
    key = new_key(client(ADA), scopes=scopes)

    answer = client(key).request(method, path, json={} if method == "POST" else None)

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "missing_scope"
    assert f"`{needs}`" in answer.json()["error"]["message"]


def test_a_key_cannot_make_a_stronger_one(client: Callable[[str], httpx.Client]) -> None:
    key = new_key(client(ADA), scopes=["admin"])

    refused = client(key).post(KEYS, json={"scopes": ["run"]})

    assert refused.status_code == 403 and refused.json()["error"]["code"] == "missing_scope"
    assert client(key).post(KEYS, json={"scopes": ["admin"]}).status_code == 201


@pytest.mark.parametrize("days", [None, 30])
def test_a_key_cannot_make_one_that_outlives_it(
    client: Callable[[str], httpx.Client], days: float | None
) -> None:
    made = client(ADA).post(KEYS, json={"scopes": ["admin"], "days": 1}).json()

    child = client(made["key"]).post(KEYS, json={"scopes": ["admin"], "days": days}).json()

    assert child["expires"] == made["expires"]


def test_the_scope_admin_makes_nobody_an_admin(client: Callable[[str], httpx.Client]) -> None:
    deep = "/readyz?deep=1"

    assert client(ADA).get(deep).json()["error"]["code"] == "not_allowed"
    weak = new_key(client(ADMIN), scopes=["read"])
    assert client(weak).get(deep).json()["error"]["code"] == "missing_scope"


def test_another_users_key_cannot_be_seen_or_revoked(
    client: Callable[[str], httpx.Client],
) -> None:
    theirs = api_keys.id_of(ADMIN)

    answer = client(ADA).delete(f"{KEYS}/{theirs}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_key")
    assert theirs not in client(ADA).get(KEYS).text
    assert client(ADMIN).get(ME).status_code == 200


def test_a_key_that_is_revoked_in_one_process_ends_in_all(
    mill: Stack, client: Callable[..., httpx.Client]
) -> None:
    other_url = mill.start_another_web()
    key = new_key(client(ADA))
    used = [client(key, url) for url in (mill.url, other_url)]
    assert [user.get(ME).status_code for user in used] == [200, 200]

    revoked = client(ADA).delete(f"{KEYS}/{api_keys.id_of(key)}")

    end = time.monotonic() + REVOKED_WITHIN_S
    while [user.get(ME).status_code for user in used] != [401, 401]:
        assert time.monotonic() < end, "it still works"
        time.sleep(0.1)
    assert revoked.status_code == 204


def test_a_key_that_has_expired_opens_nothing(client: Callable[[str], httpx.Client]) -> None:
    key = new_key(client(ADA), days=1.5 / 86_400)
    assert client(key).get(ME).status_code == 200

    time.sleep(1.6)

    answer = client(key).get(ME)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_signed_in")


@pytest.mark.parametrize(
    "asked",
    [{"scopes": ["all"]}, {"scopes": []}, {"days": 0}, {"days": 1e9}, {"name": "a\nb"}, {"x": 1}],
)
def test_a_key_that_makes_no_sense_is_not_made(
    client: Callable[[str], httpx.Client], asked: dict[str, object]
) -> None:
    assert client(ADA).post(KEYS, json=asked).status_code == 422


def test_keys_that_are_made_and_revoked_are_in_the_audit_log(
    mill: Stack, client: Callable[[str], httpx.Client]
) -> None:
    key = new_key(client(ADA))
    client(ADA).delete(f"{KEYS}/{api_keys.id_of(key)}")

    events = [
        (event.action, event.user, event.outcome)
        for event in SyncRedis(mill.state).do(audit.read())
        if event.target == api_keys.id_of(key)
    ]

    assert events == [("key.revoke", "ada", "ok"), ("key.add", "ada", "ok")]
