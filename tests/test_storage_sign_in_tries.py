"""Back-off of sign-ins: how many tries pass, and whom it holds up."""

import time

import pytest
import redis

from storage import sign_in_tries
from storage.redis.calls import SyncRedis
from storage.sign_in_tries import FREE_OF_ACCOUNT, FREE_OF_ADDRESS, allow, forgive

pytest_plugins = ["inprocess"]


def passed(link: SyncRedis, tries: list[tuple[str, str]]) -> int:
    return sum(link.do(allow(sign_in_tries.of_stranger(*tried))) == 0 for tried in tries)


def test_a_thousand_tries_from_one_address_pass_a_few(link: SyncRedis) -> None:
    assert passed(link, [("ada", "192.0.2.1")] * 1000) <= FREE_OF_ACCOUNT + 3


def test_a_thousand_addresses_gain_nothing(link: SyncRedis) -> None:
    tries = [("ada", f"192.0.{number // 250}.{number % 250}") for number in range(1000)]

    assert passed(link, tries) <= FREE_OF_ACCOUNT + 3


def test_one_password_for_a_thousand_names_passes_a_few_from_an_address(link: SyncRedis) -> None:
    tries = [(f"user-{number}", "192.0.2.1") for number in range(1000)]

    assert passed(link, tries) <= FREE_OF_ADDRESS + 3


def test_others_at_the_address_are_not_held_up_by_tries_on_one_account(link: SyncRedis) -> None:
    passed(link, [("ada", "192.0.2.1")] * 1000)

    assert passed(link, [("bob", "192.0.2.1")]) == 1


def test_the_wait_doubles_up_to_a_quarter_of_an_hour(link: SyncRedis, state: "redis.Redis") -> None:
    counted = sign_in_tries.of_stranger("ada", "192.0.2.1")
    waits_s = []
    for _ in range(FREE_OF_ACCOUNT + 12):
        assert link.do(allow(counted)) == 0
        next_ms = float(state.hget(counted.names[0], "next") or 0)
        waits_s.append(max(round(next_ms / 1000 - time.time()), 0))
        state.hdel(counted.names[0], "next")  # as if it had passed

    assert waits_s == [0] * 4 + [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


def test_the_right_password_forgets_the_wrong_ones_of_the_account(link: SyncRedis) -> None:
    counted = sign_in_tries.of_stranger("ada", "192.0.2.1")
    for _ in range(FREE_OF_ACCOUNT - 1):
        link.do(allow(counted))
    link.do(forgive(counted))

    assert passed(link, [("ada", "192.0.2.1")] * 100) == FREE_OF_ACCOUNT


def test_signing_in_to_an_account_of_ones_own_gives_the_address_no_further_tries(
    link: SyncRedis,
) -> None:
    tried = 0
    for number in range(200):
        tried += passed(link, [(f"user-{number}", "192.0.2.1")])
        own = sign_in_tries.of_stranger("eve", "192.0.2.1")
        if link.do(allow(own)) == 0:
            link.do(forgive(own))

    assert tried <= FREE_OF_ADDRESS + 3


def test_a_browser_that_was_here_before_has_tries_of_its_own(link: SyncRedis) -> None:
    passed(link, [("ada", "192.0.2.1")] * 100)
    known = sign_in_tries.of_known_browser("ada", "its-word")

    allowed = [link.do(allow(known)) == 0 for _ in range(100)]

    assert allowed[0] and sum(allowed) <= FREE_OF_ACCOUNT + 3


@pytest.mark.parametrize("name", ["", "a" * 5000, "\x00é"])
def test_any_text_may_be_tried_as_a_name(link: SyncRedis, name: str) -> None:
    assert passed(link, [(name, "192.0.2.1")]) == 1


def test_nothing_is_kept_for_ever_and_no_name_is_kept_at_all(
    link: SyncRedis, state: "redis.Redis"
) -> None:
    passed(link, [("ada-types-a-password-here", "192.0.2.1")])

    names = state.keys("*")
    assert names and all(0 < state.pttl(name) <= sign_in_tries.KEEP_MS for name in names)
    assert not any("ada" in name for name in names)
