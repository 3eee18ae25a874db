"""The audit log: what an event holds, how it is read, and that it stays bounded."""

import time
from dataclasses import dataclass

import pytest
import redis

from storage import audit, keys
from storage.redis.calls import SyncRedis

pytest_plugins = ["inprocess"]


@dataclass(frozen=True)
class Visitor:
    user: str = "ada"
    kind: str = "account"
    address: str = "203.0.113.77"


def test_an_event_says_who_did_what_on_which_id_from_where_and_what_came_of_it(
    link: SyncRedis,
) -> None:
    event_id = link.do(audit.record("job.delete", Visitor(), "0" * 32, "ok"))

    [event] = link.do(audit.read())
    assert event == audit.Event(
        event_id, "job.delete", "ada", "account", "0" * 32, "203.0.113.0/24", "ok"
    )
    assert event.at_ms > 1_700_000_000_000


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("", ""),
        ("testclient", ""),
    ],
)
def test_only_the_network_of_an_address_is_kept(address: str, network: str) -> None:
    assert audit.network_of(address) == network


def test_the_newest_events_come_first_a_page_at_a_time(link: SyncRedis) -> None:
    for number in range(5):
        link.do(audit.record("key.add", Visitor(), str(number), "ok"))

    first = link.do(audit.read(most=2))
    second = link.do(audit.read(before=first[-1].id, most=2))
    last = link.do(audit.read(before=second[-1].id, most=2))

    assert [event.target for event in [*first, *second, *last]] == ["4", "3", "2", "1", "0"]


def test_events_before_a_time_are_left_out(link: SyncRedis, state: "redis.Redis") -> None:
    state.xadd(keys.AUDIT, {"action": "old"}, id="1000-0")
    link.do(audit.record("key.add", Visitor(), "k", "ok"))

    assert [event.action for event in link.do(audit.read(since_ms=2000))] == ["key.add"]


def test_old_events_are_removed_to_the_last(link: SyncRedis, state: "redis.Redis") -> None:
    for number in range(250):
        state.xadd(keys.AUDIT, {"action": "old"}, id=f"1000-{number}")
    link.do(audit.record("key.add", Visitor(), "k", "ok"))

    removed = link.do(audit.trim(keys.AUDIT, 2000)) + link.do(audit.trim_last(keys.AUDIT, 2000))

    assert removed == 250
    assert [event.action for event in link.do(audit.read())] == ["key.add"]


def test_strangers_push_out_nothing_but_what_strangers_did(link: SyncRedis) -> None:
    link.do(audit.record("key.add", Visitor(), "k", "ok", most=200))
    for number in range(500):
        wrong = ("sign_in", Visitor(""), str(number), "wrong")
        link.do(audit.record(*wrong, by_stranger=True, most=200))

    events = link.do(audit.read(most=1000))

    assert len(events) <= 300
    assert (events[0].target, events[-1].action) == ("499", "key.add")


def test_both_streams_are_read_as_one_without_an_id_twice(
    link: SyncRedis, state: "redis.Redis"
) -> None:
    ahead_ms = int(time.time() * 1000) + 60_000  # the clock was set back since
    state.xadd(keys.AUDIT, {"action": "of tomorrow"}, id=f"{ahead_ms}-7")
    for number in range(6):
        link.do(audit.record("a", Visitor(), str(number), "ok", by_stranger=number % 3 == 0))

    newest, oldest = link.do(audit.read(most=4)), link.do(audit.read_on(most=3))
    on = link.do(audit.read_on(after=oldest[-1].id))
    back = link.do(audit.read(before=newest[-1].id))

    assert [event.target for event in newest + back] == ["5", "4", "3", "2", "1", "0", ""]
    assert [event.id for event in oldest + on] == [event.id for event in (newest + back)[::-1]]
    assert len({event.id for event in oldest + on}) == 7


def test_the_log_never_grows_beyond_its_limit(link: SyncRedis, state: "redis.Redis") -> None:
    for number in range(500):
        link.do(audit.record("key.add", Visitor(), str(number), "ok", most=200))

    assert state.xlen(keys.AUDIT) <= 200 + 100  # whole nodes of a hundred are removed
