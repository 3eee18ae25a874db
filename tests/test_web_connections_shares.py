"""Fair shares of what all clients use, and which client a request belongs to."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.addresses import client_of, is_trusted, site
from web.connections.shares import FairSemaphore, FairShares


@pytest.mark.parametrize(("owner", "most"), [("192.0.2.1", 20), ("127.0.0.1", 50)])
def test_one_alone_holds_a_fifth_and_a_proxy_half(owner: str, most: int) -> None:
    shares = FairShares(100)

    assert sum(shares.acquire(owner, 1) for _ in range(100)) == most


def test_twelve_greedy_ones_leave_something_for_whoever_comes() -> None:
    shares = FairShares(128)
    for owner in "abcdefghijkl":
        while shares.acquire(owner, 1):
            pass

    assert [shares.acquire(owner, 1) for owner in ("new", "newer", "127.0.0.1")] == [True] * 3


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=200))
def test_nothing_is_lost_or_taken_twice(wanted: list[tuple[str, int]]) -> None:
    shares = FairShares(50)
    taken = [entry for entry in wanted if shares.acquire(*entry)]

    assert shares.free == 50 - sum(amount for _, amount in taken) >= 0
    for entry in taken:
        shares.release(*entry)
    assert shares.free == 50 and shares.can_acquire("a", 50)


async def test_a_slot_goes_to_the_first_that_waits_and_has_not_its_share() -> None:
    slots = FairSemaphore(2)
    await slots.acquire("a", 1)
    await slots.acquire("b", 1)
    turns = [asyncio.create_task(slots.acquire(owner, 5)) for owner in ("a", "c", "d")]
    await asyncio.sleep(0)

    slots.release("b")
    await asyncio.wait(turns, return_when=asyncio.FIRST_COMPLETED)

    assert [turn.done() for turn in turns] == [False, True, False]
    for turn in turns:
        turn.cancel()


async def test_whoever_waits_too_long_is_told_so_and_leaves_no_trace() -> None:
    slots = FairSemaphore(1)
    await slots.acquire("a", 1)

    with pytest.raises(TimeoutError):
        await slots.acquire("b", 0.01)
    slots.release("a")

    await slots.acquire("c", 1)


async def test_a_slot_given_to_one_who_has_just_left_is_not_lost() -> None:
    slots = FairSemaphore(1)
    await slots.acquire("a", 1)
    waiting = asyncio.create_task(slots.acquire("b", 5))
    await asyncio.sleep(0)

    slots.release("a")
    waiting.cancel()
    await asyncio.wait([waiting])

    await slots.acquire("c", 0.1)


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
        ("::1", "::1"),
        ("unknown", "unknown"),
    ],
)
def test_an_ipv6_site_is_one_client(address: str, same: str) -> None:
    assert site(address) == same


def scope(peer: str, *forwarded: str) -> dict[str, object]:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return {"type": "http", "client": (peer, 1), "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["made.up, 203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["203.0.113.9, 127.0.0.1"], "203.0.113.9"),
        ("127.0.0.1", [""], "127.0.0.1"),
    ],
)
def test_only_a_trusted_proxy_says_who_its_client_is(
    peer: str, forwarded: list[str], client: str
) -> None:
    assert client_of(scope(peer, *forwarded)) == client


def test_loopback_is_trusted_and_its_neighbours_are_not() -> None:
    assert is_trusted("127.0.0.1") and is_trusted("::1") and is_trusted("")
    assert not is_trusted("127.0.0.2") and not is_trusted("nonsense")
