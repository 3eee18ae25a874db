"""Accounts and passwords."""

import pytest
import redis

from storage import users
from storage.redis.calls import SyncRedis

pytest_plugins = ["inprocess"]


def test_the_right_password_opens(link: SyncRedis) -> None:
    link.do(users.set_password("ada", "correct horse"))

    assert users.is_password(link.do(users.password_hash("ada")), "correct horse")


@pytest.mark.parametrize("tried", ["", "correct hors", "Correct horse", "correct horse "])
def test_a_wrong_password_does_not(link: SyncRedis, tried: str) -> None:
    link.do(users.set_password("ada", "correct horse"))

    assert not users.is_password(link.do(users.password_hash("ada")), tried)


@pytest.mark.parametrize("tried", ["", "anything", "00"])
def test_no_password_opens_an_account_that_is_not_there(link: SyncRedis, tried: str) -> None:
    stored = link.do(users.password_hash("nobody"))

    assert stored is None
    assert not users.is_password(stored, tried)


def test_a_changed_password_replaces_the_old(link: SyncRedis) -> None:
    link.do(users.set_password("ada", "old"))
    link.do(users.set_password("ada", "new"))

    stored = link.do(users.password_hash("ada"))
    assert users.is_password(stored, "new")
    assert not users.is_password(stored, "old")


def test_equal_passwords_are_stored_differently(link: SyncRedis) -> None:
    link.do(users.set_password("ada", "same"))
    link.do(users.set_password("bob", "same"))

    assert link.do(users.password_hash("ada")) != link.do(users.password_hash("bob"))


def test_passwords_beyond_ascii_work(link: SyncRedis) -> None:
    link.do(users.set_password("ada", "pä߀wörd"))

    assert users.is_password(link.do(users.password_hash("ada")), "pä߀wörd")


def test_a_password_cannot_be_read_from_redis(link: SyncRedis, state: "redis.Redis") -> None:
    link.do(users.set_password("ada", "correct horse"))

    stored = [str(state.hgetall(name)) for name in state.keys("*")]
    assert stored and not any("correct horse" in text for text in stored)
