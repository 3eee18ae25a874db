"""API keys: made, looked up, listed and revoked on a real Redis."""

import time

import pytest
import redis

from storage import api_keys, keys
from storage.redis.calls import SyncRedis

pytest_plugins = ["inprocess"]

SECRET = api_keys.new_secret()


def now_ms() -> int:
    return int(time.time() * 1000)


def test_a_key_names_its_user_and_scopes(link: SyncRedis) -> None:
    link.do(api_keys.add(SECRET, "ada", name="laptop", scopes=["read"]))

    found = link.do(api_keys.look_up(SECRET))

    assert found and (found.user, found.name, found.scopes) == ("ada", "laptop", {"read"})
    assert found.created_ms == pytest.approx(now_ms(), abs=2000)


def test_an_unknown_key_names_nobody(link: SyncRedis) -> None:
    assert link.do(api_keys.look_up("made-up")) is None


def test_a_key_cannot_be_read_from_redis(link: SyncRedis, state: "redis.Redis") -> None:
    link.do(api_keys.add(SECRET, "ada"))

    names = list(state.scan_iter("*"))
    values = [str(state.hgetall(name)) for name in names]
    assert len(names) == 2
    assert not any(SECRET in text for text in [*names, *values])


def test_a_list_shows_how_a_key_begins_and_no_more(link: SyncRedis) -> None:
    link.do(api_keys.add(SECRET, "ada"))

    [listed] = link.do(api_keys.of_user("ada"))

    assert listed.prefix == SECRET[:10] and len(SECRET) == 46
    assert listed.id == api_keys.id_of(SECRET)


def test_a_short_key_shows_nothing_of_itself(link: SyncRedis) -> None:
    link.do(api_keys.add("short", "ada"))

    assert [key.prefix for key in link.do(api_keys.of_user("ada"))] == [""]


def test_a_revoked_key_opens_nothing_and_is_listed_no_more(link: SyncRedis) -> None:
    link.do(api_keys.add(SECRET, "ada"))

    assert link.do(api_keys.revoke("ada", api_keys.id_of(SECRET)))

    assert link.do(api_keys.look_up(SECRET)) is None
    assert link.do(api_keys.of_user("ada")) == []


def test_a_key_is_revoked_by_its_own_user_alone(link: SyncRedis) -> None:
    link.do(api_keys.add(SECRET, "ada"))

    assert not link.do(api_keys.revoke("bob", api_keys.id_of(SECRET)))

    assert link.do(api_keys.look_up(SECRET))


def test_a_key_ends_when_it_expires_and_stays_in_the_list(link: SyncRedis) -> None:
    link.do(api_keys.add(SECRET, "ada", expires_ms=now_ms() + 60_000))
    assert link.do(api_keys.look_up(SECRET))

    link.do(api_keys.add(SECRET, "ada", expires_ms=now_ms() - 1))

    assert link.do(api_keys.look_up(SECRET)) is None
    [listed] = link.do(api_keys.of_user("ada"))
    assert listed.has_expired(now_ms())


def test_the_last_use_is_written_once_a_minute(link: SyncRedis, state: "redis.Redis") -> None:
    link.do(api_keys.add(SECRET, "ada"))
    name = keys.api_key(SECRET)

    link.do(api_keys.look_up(SECRET))
    first = int(state.hget(name, "used"))
    state.hset(name, "used", first - 30_000)
    link.do(api_keys.look_up(SECRET))
    within = int(state.hget(name, "used"))
    state.hset(name, "used", first - 60_001)
    link.do(api_keys.look_up(SECRET))

    assert first == pytest.approx(now_ms(), abs=2000)
    assert within == first - 30_000
    assert int(state.hget(name, "used")) >= first


def test_a_key_has_the_role_of_its_account(link: SyncRedis, state: "redis.Redis") -> None:
    link.do(api_keys.add(SECRET, "ada"))
    before = link.do(api_keys.look_up(SECRET))
    state.hset(keys.user("ada"), "role", "admin")

    after = link.do(api_keys.look_up(SECRET))

    assert before and after and (before.role, after.role) == ("user", "admin")


def test_the_keys_of_a_disabled_account_open_nothing(link: SyncRedis, state: "redis.Redis") -> None:
    link.do(api_keys.add(SECRET, "ada"))

    state.hset(keys.user("ada"), "disabled", "1")
    disabled = link.do(api_keys.look_up(SECRET))
    state.hset(keys.user("ada"), "disabled", "")

    assert disabled is None
    assert link.do(api_keys.look_up(SECRET)), "it is enabled again"


def test_a_user_has_a_hundred_keys_at_most(link: SyncRedis) -> None:
    made = [api_keys.new_secret() for _ in range(api_keys.MOST_KEYS)]
    for secret in made:
        assert link.do(api_keys.add(secret, "ada"))

    assert link.do(api_keys.add(SECRET, "ada")) is None
    assert link.do(api_keys.add(made[0], "ada", name="again")), "it is one of the hundred"
    assert link.do(api_keys.add(SECRET, "bob"))
