"""Sessions: what ends them, and what a user sees of them."""

import time

import pytest
import redis

from storage import keys, sessions, users
from storage.redis.calls import SyncRedis
from storage.sessions import Life, Origin

pytest_plugins = ["inprocess"]

LIFE = Life(idle_s=60, most_s=600)
ORIGIN = Origin("account", "accounts", "192.0.2.0/24", "Firefox")


@pytest.fixture(autouse=True)
def _ada(link: SyncRedis) -> None:
    link.do(users.add("ada", "correct horse"))


def begin(link: SyncRedis, token: str, *, life: Life = LIFE, origin: Origin = ORIGIN) -> bool:
    epoch = link.do(users.credentials("ada")).epoch
    return link.do(sessions.begin("ada", token, epoch, origin, life))


def counts(link: SyncRedis, token: str, *, mode: str = "accounts", user: str = "ada") -> bool:
    use = sessions.use(user, sessions.id_of(token), mode=mode, life=LIFE)
    return link.do(use) is not None


def test_a_session_counts_and_has_the_users_role(link: SyncRedis) -> None:
    assert begin(link, "token")

    known = link.do(sessions.use("ada", sessions.id_of("token"), mode="accounts", life=LIFE))
    assert known == sessions.Known("ada", "account", "user")


def test_another_token_or_user_has_none(link: SyncRedis) -> None:
    begin(link, "token")

    assert not counts(link, "tokem")
    assert not counts(link, "token", user="bob")


@pytest.mark.parametrize(
    "change",
    [
        users.set_password("ada", "another horse"),
        users.reset_password("ada", "another horse"),
        users.set_role("ada", "admin"),
        users.set_disabled("ada", True),
        users.end_sessions("ada"),
    ],
    ids=["password", "reset", "role", "disabled", "everywhere"],
)
def test_it_ends_when_the_account_is_changed(link: SyncRedis, change) -> None:
    begin(link, "token")

    assert link.do(change)

    assert not counts(link, "token")
    assert link.do(sessions.of_user("ada")) == []


def test_it_ends_with_the_account(link: SyncRedis, state: "redis.Redis") -> None:
    begin(link, "token")
    state.delete(keys.user("ada"))

    assert not counts(link, "token") and not begin(link, "another")


def test_one_can_be_ended_and_the_other_stays(link: SyncRedis) -> None:
    begin(link, "first")
    begin(link, "second")

    assert link.do(sessions.end("ada", sessions.id_of("first")))

    assert not counts(link, "first") and counts(link, "second")
    assert not link.do(sessions.end("bob", sessions.id_of("second"))), "it is not his"


def test_it_ends_unused_and_in_the_end(link: SyncRedis, state: "redis.Redis") -> None:
    begin(link, "idle", life=Life(idle_s=0.05, most_s=600))
    begin(link, "old", life=Life(idle_s=60, most_s=0.05))
    begin(link, "lively")
    time.sleep(0.1)

    assert not counts(link, "idle") and not counts(link, "old") and counts(link, "lively")
    ttl_ms = state.pttl(keys.session("ada", sessions.id_of("lively")))
    assert 0 < ttl_ms <= 60_000, "nothing of it stays"


def test_it_belongs_to_the_mode_that_it_began_in(link: SyncRedis) -> None:
    begin(link, "token")

    assert not counts(link, "token", mode="open")


def test_whoever_was_changed_while_signing_in_has_to_try_again(link: SyncRedis) -> None:
    epoch = link.do(users.credentials("ada")).epoch
    link.do(users.reset_password("ada", "another horse"))

    assert not link.do(sessions.begin("ada", "token", epoch, ORIGIN, LIFE))
    assert not counts(link, "token")


def test_nobody_disabled_begins_one(link: SyncRedis) -> None:
    link.do(users.set_disabled("ada", True))

    assert not begin(link, "token")


def test_the_list_says_where_and_when_newest_first(link: SyncRedis) -> None:
    began_ms = time.time() * 1000
    begin(link, "first")
    begin(link, "second", origin=Origin("account", "accounts", "", "x" * 500))

    newer, older = link.do(sessions.of_user("ada"))

    assert (newer.id, older.id) == (sessions.id_of("second"), sessions.id_of("first"))
    assert (older.network, older.agent) == ("192.0.2.0/24", "Firefox")
    assert len(newer.agent) == sessions.MAX_AGENT
    assert abs(older.began_ms - began_ms) < 10_000 and older.ends_ms > older.began_ms


def test_the_oldest_of_too_many_ends(link: SyncRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST", 3)
    for number in range(5):
        begin(link, f"token-{number}")

    assert [counts(link, f"token-{number}") for number in range(5)] == [False] * 2 + [True] * 3


def test_no_token_can_be_read_from_redis(link: SyncRedis, state: "redis.Redis") -> None:
    token = sessions.new_token()
    begin(link, token)

    assert not any(token in name for name in state.keys("*"))
    hashes = [name for name in state.keys("*") if state.type(name) == "hash"]
    assert not any(token in str(state.hgetall(name)) for name in hashes)
