"""Accounts and passwords."""

import time

import pytest
import redis
from argon2 import PasswordHasher

from storage import passwords, users
from storage.redis.calls import SyncRedis

pytest_plugins = ["inprocess"]


def test_the_right_password_opens(link: SyncRedis) -> None:
    link.do(users.set_password("ada", "correct horse"))

    assert passwords.is_password(link.do(users.credentials("ada")).password, "correct horse")


@pytest.mark.parametrize("tried", ["", "correct hors", "Correct horse", "correct horse "])
def test_a_wrong_password_does_not(link: SyncRedis, tried: str) -> None:
    link.do(users.set_password("ada", "correct horse"))

    assert not passwords.is_password(link.do(users.credentials("ada")).password, tried)


@pytest.mark.parametrize("tried", ["", "anything", "00"])
def test_no_password_opens_an_account_that_is_not_there(link: SyncRedis, tried: str) -> None:
    stored = link.do(users.credentials("nobody")).password

    assert stored is None
    assert not passwords.is_password(stored, tried)


def test_a_changed_password_replaces_the_old(link: SyncRedis) -> None:
    link.do(users.set_password("ada", "old"))
    link.do(users.set_password("ada", "new"))

    stored = link.do(users.credentials("ada")).password
    assert passwords.is_password(stored, "new")
    assert not passwords.is_password(stored, "old")


def test_equal_passwords_are_stored_differently(link: SyncRedis) -> None:
    link.do(users.set_password("ada", "same"))
    link.do(users.set_password("bob", "same"))

    assert link.do(users.credentials("ada")).password != link.do(users.credentials("bob")).password


def test_passwords_beyond_ascii_work(link: SyncRedis) -> None:
    link.do(users.set_password("ada", "pä߀wörd"))

    assert passwords.is_password(link.do(users.credentials("ada")).password, "pä߀wörd")


def test_a_password_cannot_be_read_from_redis(link: SyncRedis, state: "redis.Redis") -> None:
    link.do(users.set_password("ada", "correct horse"))

    stored = [str(state.hgetall(name)) for name in state.keys("*")]
    assert stored and not any("correct horse" in text for text in stored)


def test_an_account_is_added_once(link: SyncRedis) -> None:
    assert link.do(users.add("ada", "correct horse"))
    assert not link.do(users.add("ada", "another horse"))

    stored = link.do(users.credentials("ada")).password
    assert passwords.is_password(stored, "correct horse")
    user = link.do(users.user("ada"))
    assert user and (user.role, user.kind, user.is_disabled) == ("user", "account", False)
    assert user.created_ms > 0 and user.signed_in_ms == 0


@pytest.mark.parametrize(
    "call",
    [
        users.reset_password("nobody", "correct horse"),
        users.set_role("nobody", "admin"),
        users.set_disabled("nobody", True),
        users.end_sessions("nobody"),
    ],
)
def test_whoever_is_not_there_cannot_be_changed(link: SyncRedis, call) -> None:
    assert not link.do(call)
    assert link.do(users.user("nobody")) is None


def test_roles_and_disabling_are_seen(link: SyncRedis) -> None:
    link.do(users.add("ada", "correct horse"))
    link.do(users.set_role("ada", "admin"))
    link.do(users.set_disabled("ada", True))

    assert link.do(users.account("ada")) == users.Account("admin", is_disabled=True)
    assert link.do(users.account("nobody")) == users.Account("user", exists=False)


def test_a_password_is_replaced_only_if_it_is_the_one_that_was_checked(link: SyncRedis) -> None:
    link.do(users.add("ada", "correct horse"))
    stored = link.do(users.credentials("ada")).password
    assert stored
    link.do(users.reset_password("ada", "set by an admin"))

    assert not link.do(users.replace_password("ada", stored, "set by a thief"))
    assert passwords.is_password(link.do(users.credentials("ada")).password, "set by an admin")


def test_passwords_are_hashed_by_argon2id_with_the_parameters_of_its_rfc() -> None:
    stored = passwords.hashed("correct horse")

    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert not passwords.is_outdated(stored)


def test_a_hash_of_other_parameters_still_opens_and_is_outdated() -> None:
    stored = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("correct horse")

    assert passwords.is_password(stored, "correct horse")
    assert not passwords.is_password(stored, "wrong horse")
    assert passwords.is_outdated(stored)


def test_a_check_costs_as_much_for_a_name_that_is_not_there() -> None:
    """CPU time: it does not depend on what else this machine does."""
    stored = passwords.hashed("correct horse")

    def cpu_s(of: str | None) -> float:
        began_s = time.process_time()
        assert not passwords.is_password(of, "wrong horse")
        return time.process_time() - began_s

    cpu_s(None)  # the hash of nobody is made once
    known, unknown = [], []
    for _ in range(5):
        known.append(cpu_s(stored))
        unknown.append(cpu_s(None))

    assert min(known) == pytest.approx(min(unknown), rel=0.3)
