"""One definition of every operation serves workers and web, and heals what a restart takes."""

import asyncio
import gc
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from types import FrameType
from typing import Any

import pytest
import redis

from storage import catalogue
from storage.errors import StorageDown
from storage.redis import calls
from storage.redis.calls import AsyncRedis, Batch, SyncRedis
from storage.redis.mismatches import mismatches
from storage.redis.pool import Connections

pytest_plugins = ["inprocess"]

ECHO = calls.command(bytes.decode, "ECHO", "hello", kinds=calls.TEXT)
FAILS = calls.script("jobs/release", int, [], {"no": "such argument"}, kinds=calls.NUMBER)


@pytest.fixture
async def asyncs(state_url: str) -> AsyncIterator[AsyncRedis]:
    link = AsyncRedis(state_url)
    yield link
    await link.close()


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that is taken and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_command_is_parsed(link: SyncRedis) -> None:
    assert link.do(ECHO) == "hello"


async def test_the_same_call_works_for_the_web(asyncs: AsyncRedis) -> None:
    assert await asyncs.do(ECHO) == "hello"


def test_a_script_runs_on_a_redis_that_has_never_seen_it(
    link: SyncRedis, state: "redis.Redis"
) -> None:
    state.script_flush()

    assert link.do(catalogue.read()).workers == ()


def test_a_script_is_healed_after_a_flush(link: SyncRedis, state: "redis.Redis") -> None:
    link.do(catalogue.read())
    state.script_flush()

    again = [link.do(catalogue.read()) for _ in range(2)]

    assert all(read.now_ms > 0 for read in again)


async def test_a_script_is_healed_for_the_web_too(asyncs: AsyncRedis, state: "redis.Redis") -> None:
    await asyncs.do(catalogue.read())
    state.script_flush()

    assert (await asyncs.do(catalogue.read())).now_ms > 0


def test_a_healed_script_is_known_again(link: SyncRedis, state: "redis.Redis") -> None:
    state.script_flush()
    link.do(catalogue.read())

    before = state.info("commandstats")["cmdstat_eval"]["calls"]
    link.do(catalogue.read())

    assert state.info("commandstats")["cmdstat_eval"]["calls"] == before


def test_a_dead_redis_is_storage_down_and_is_named(nobody: int) -> None:
    with redis.Redis(port=nobody, retry=None) as client:
        link = SyncRedis(client, "the state Redis")

        with pytest.raises(StorageDown, match="^the state Redis did not answer: "):
            link.do(ECHO)


def test_a_script_that_fails_is_named(link: SyncRedis) -> None:
    with pytest.raises(StorageDown, match="Redis could not run jobs/release.lua: "):
        link.do(FAILS)


async def test_a_script_that_fails_is_named_to_the_web(asyncs: AsyncRedis) -> None:
    with pytest.raises(StorageDown, match="Redis could not run jobs/release.lua: "):
        await asyncs.do(FAILS)


async def test_a_dead_redis_is_storage_down_for_the_web(nobody: int) -> None:
    link = AsyncRedis(f"redis://127.0.0.1:{nobody}/0", "the cache Redis")

    with pytest.raises(StorageDown, match="^the cache Redis did not answer: "):
        await link.do(ECHO)


@pytest.mark.measures_time
def test_a_silent_redis_is_storage_down_in_time(silent: int) -> None:
    with redis.Redis(port=silent, retry=None, socket_timeout=0.2) as client:
        began = time.monotonic()

        with pytest.raises(StorageDown):
            SyncRedis(client).do(ECHO)

    assert time.monotonic() - began < 2


@pytest.mark.measures_time
async def test_a_silent_redis_is_storage_down_in_time_for_the_web(silent: int) -> None:
    link, began = AsyncRedis(f"redis://127.0.0.1:{silent}/0", limit_s=0.2), time.monotonic()

    with pytest.raises(StorageDown):
        await link.do(ECHO)

    assert time.monotonic() - began < 2


def test_a_redis_that_refuses_a_command_is_storage_down(
    link: SyncRedis, state: "redis.Redis"
) -> None:
    state.set("text", "x")

    with pytest.raises(StorageDown, match="WRONGTYPE"):
        link.do(calls.command(int, "HINCRBY", "text", "field", 1, kinds=calls.NUMBER))


# Together


def test_commands_go_together_and_are_answered_in_order(link: SyncRedis) -> None:
    asked = [
        calls.command(bytes.decode, "ECHO", word, kinds=calls.TEXT)
        for word in ("one", "two", "three")
    ]

    assert link.do_together(asked) == ["one", "two", "three"]


def test_a_refused_command_leaves_no_answer_behind(link: SyncRedis, state: "redis.Redis") -> None:
    state.set("text", "x")

    refused = calls.command(str, "HINCRBY", "text", "field", 1, kinds=calls.NUMBER)

    with pytest.raises(StorageDown, match="WRONGTYPE"):
        link.do_together([refused, calls.command(str, "GET", "text", kinds=calls.MAYBE_TEXT)])

    assert link.do(ECHO) == "hello"


def test_what_is_gathered_goes_in_one_round_trip(link: SyncRedis, state: "redis.Redis") -> None:
    gathered = Batch[int](link)
    answers = [
        gathered.ask(calls.command(int, "INCR", "gathered", kinds=calls.NUMBER)) for _ in range(3)
    ]

    assert not state.exists("gathered"), "nobody has asked for an answer yet"
    assert answers[1]() == 2
    assert state.get("gathered") == "3"
    assert [answer() for answer in answers] == [1, 2, 3]
    assert state.get("gathered") == "3", "and nothing goes twice"


def test_what_is_gathered_later_goes_with_the_next(link: SyncRedis) -> None:
    gathered = Batch[int](link)
    first = gathered.ask(calls.command(int, "INCR", "gathered", kinds=calls.NUMBER))
    first()

    assert gathered.ask(calls.command(int, "INCR", "gathered", kinds=calls.NUMBER))() == first() + 1


def test_all_that_is_gathered_fails_with_a_dead_redis(nobody: int) -> None:
    with redis.Redis(port=nobody, retry=None) as client:
        gathered = Batch[str](SyncRedis(client))
        answers = [gathered.ask(ECHO) for _ in range(2)]

        for answer in answers:
            with pytest.raises(StorageDown):
                answer()


async def test_answers_go_to_those_who_asked(asyncs: AsyncRedis) -> None:
    asked = [
        calls.command(bytes.decode, "ECHO", str(number), kinds=calls.TEXT) for number in range(200)
    ]

    answers = await asyncio.gather(*(asyncs.do(call) for call in asked))

    assert answers == [str(number) for number in range(200)]


async def test_whoever_gives_up_waiting_shifts_no_answer(asyncs: AsyncRedis) -> None:
    await asyncs.do(ECHO)
    gone = asyncio.ensure_future(
        asyncs.do(calls.command(str, "ECHO", "for nobody", kinds=calls.TEXT))
    )
    await asyncio.sleep(0)
    gone.cancel()

    assert await asyncs.do(ECHO) == "hello"


async def test_one_refused_command_harms_no_other(asyncs: AsyncRedis, state: "redis.Redis") -> None:
    state.set("text", "x")
    refused = calls.command(int, "HINCRBY", "text", "field", 1, kinds=calls.NUMBER)

    answers = await asyncio.gather(asyncs.do(refused), asyncs.do(ECHO), return_exceptions=True)

    assert isinstance(answers[0], StorageDown)
    assert answers[1] == "hello"


async def test_all_of_a_web_process_share_one_connection(asyncs: AsyncRedis) -> None:
    which = calls.command(int, "CLIENT", "ID", kinds=calls.NUMBER)

    connections = await asyncio.gather(*(asyncs.do(which) for _ in range(50)))

    assert len(set(connections)) == 1


async def test_a_lost_connection_is_opened_again(asyncs: AsyncRedis, state: "redis.Redis") -> None:
    mine = await asyncs.do(calls.command(int, "CLIENT", "ID", kinds=calls.NUMBER))
    state.client_kill_filter(_id=str(mine))

    assert await asyncs.do(ECHO) == "hello"


async def test_what_was_asked_when_the_connection_broke_is_asked_again(
    asyncs: AsyncRedis, state: "redis.Redis"
) -> None:
    mine = await asyncs.do(calls.command(int, "CLIENT", "ID", kinds=calls.NUMBER))
    state.client_pause(300, all=False)  # type: ignore[no-untyped-call]  # redis-py
    asked = [
        asyncio.ensure_future(asyncs.do(calls.command(int, "INCR", "n", kinds=calls.NUMBER)))
        for _ in range(10)
    ]
    await asyncio.sleep(0.1)  # they are on their way: all of them are told that writes must wait
    state.client_kill_filter(_id=str(mine))

    assert sorted(await asyncio.gather(*asked)) == list(range(1, 11))


async def test_a_redis_that_hangs_is_heard_again_when_it_goes_on(
    state_url: str, state: "redis.Redis"
) -> None:
    link = AsyncRedis(state_url, limit_s=1.0)
    await link.do(ECHO)
    state.client_pause(5000)  # type: ignore[no-untyped-call]  # redis-py

    answers = await asyncio.gather(*(link.do(ECHO) for _ in range(5)), return_exceptions=True)

    assert all(isinstance(error, StorageDown) for error in answers)
    state.client_unpause()  # type: ignore[no-untyped-call]  # redis-py
    assert await link.do(ECHO) == "hello"
    await link.close()


async def test_who_asked_a_hung_redis_late_is_not_given_up_with_who_asked_first(
    state_url: str, state: "redis.Redis"
) -> None:
    link = AsyncRedis(state_url, limit_s=2.0)
    await link.do(ECHO)
    state.client_pause(2700)  # type: ignore[no-untyped-call]  # redis-py
    first = asyncio.ensure_future(link.do(ECHO))
    await asyncio.sleep(1.6)

    assert await link.do(ECHO) == "hello"
    with pytest.raises(StorageDown, match="silent for 2 s"):
        await first
    await link.close()


@pytest.fixture
def connections(state_url: str, link: SyncRedis) -> Iterator[Connections]:
    with redis.Redis.from_url(state_url) as client:
        yield Connections(client.connection_pool)


def echoed(connections: Connections) -> str:
    """What a connection says that is asked for `mine`."""
    [answer] = connections.ask([("ECHO", "mine")], [calls.TEXT])
    return str(answer.decode())


def test_a_told_command_is_done_before_what_follows(connections: Connections) -> None:
    connections.tell([("SET", "told", "1"), ("INCR", "told")])

    assert connections.ask([("GET", "told")], [calls.MAYBE_TEXT]) == [b"2"]


def test_a_told_command_that_is_refused_confuses_nobody(
    connections: Connections, state: "redis.Redis"
) -> None:
    state.set("text", "x")

    connections.tell([("HINCRBY", "text", "field", 1), ("ECHO", "unread")])

    assert echoed(connections) == "mine"


def test_a_connection_that_broke_before_its_answers_were_read_is_opened_again(
    connections: Connections, state: "redis.Redis"
) -> None:
    connections.tell([("CLIENT", "SETNAME", "told")])
    assert echoed(connections) == "mine"
    state.client_pause(300, all=False)  # type: ignore[no-untyped-call]  # redis-py
    connections.tell([("INCR", "n")])
    [mine] = [client["id"] for client in state.client_list() if client["name"] == "told"]
    state.client_kill_filter(_id=mine)

    assert echoed(connections) == "mine"


# A connection is used again only when every answer on it was read


class Struck(BaseException):
    """What a signal raises, between any two steps."""


def strike(number: int, frame: FrameType | None) -> None:
    """Raise out of whatever a call is at; its caller and what is being deleted are left alone."""
    while frame and frame.f_code.co_name != "__del__":
        if frame.f_code is SyncRedis.do.__code__:
            if AGAIN_S:
                signal.setitimer(signal.ITIMER_REAL, AGAIN_S.pop())
            raise Struck
        frame = frame.f_back


AGAIN_S: list[float] = []
"""When the same call is struck again. One after another: a timer that repeats by itself strikes its
own handler on a machine that needs longer for that than the timer's period."""


@pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning"
)  # what is interrupted while it closes
def test_whatever_a_signal_interrupts_nobody_gets_anothers_answer(
    link: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real signals: in the middle of sending, of reading, and again of closing what was struck."""
    # What is struck in a callback of Python's own cannot be raised. The hook is no Python code, as
    # pytest's is, so nothing strikes that.
    unraised: list[sys.UnraisableHookArgs] = []
    monkeypatch.setattr(sys, "unraisablehook", unraised.append)
    random, finished, struck, number = Random(1), 0, 0, 0
    before = signal.signal(signal.SIGALRM, strike)
    try:
        while number < ROUNDS or (struck <= ENOUGH and number < 10 * ROUNDS):
            number += 1
            call = calls.command(bytes.decode, "ECHO", f"word {number}", kinds=calls.TEXT)
            if number % 2:
                AGAIN_S[:] = [random.choice((5e-5, 2e-4))] * random.choice((0, 1, 3))
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 2e-3))
            try:
                answer = link.do(call)
            except Struck:
                struck += 1
            else:
                finished += 1
                assert answer == f"word {number}"
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.collect()
    assert all(isinstance(each.exc_value, Struck) for each in unraised)
    assert struck > ENOUGH and finished >= number / 2 - 1


ROUNDS = 600
ENOUGH = ROUNDS / 20
"""So many must be struck; on a busy machine it takes more rounds until they are."""


@pytest.mark.parametrize("together", [False, True])
def test_what_cannot_be_packed_is_asked_of_nobody(link: SyncRedis, together: bool) -> None:
    odd = calls.command(str, "SET", "odd", "\ud800", kinds=calls.TEXT)

    with pytest.raises(UnicodeError):
        link.do_together([ECHO, odd]) if together else link.do(odd)

    assert link.do(ECHO) == "hello"


def test_what_is_interrupted_while_it_is_closed_is_used_by_nobody(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections.ask([("PING",)], [calls.TEXT])
    [(used, _)] = connections._free

    def interrupted(*_: object) -> None:
        raise Struck

    monkeypatch.setattr(used, "read_response", interrupted)
    monkeypatch.setattr(used, "disconnect", interrupted)

    with pytest.raises(Struck):
        connections.ask([("ECHO", "another's")], [calls.TEXT])

    assert not connections._free
    assert echoed(connections) == "mine"
    monkeypatch.undo()
    used.disconnect()


def test_an_answer_of_the_wrong_kind_closes_the_connection_and_is_counted(link: SyncRedis) -> None:
    which = calls.command(int, "CLIENT", "ID", kinds=calls.NUMBER)
    before, counted = link.do(which), mismatches.count

    with pytest.raises(StorageDown, match="bytes, not int"):
        link.do(calls.command(int, "ECHO", "7", kinds=calls.NUMBER))

    assert link.do(which) != before
    assert mismatches.count == counted + 1


def test_an_answer_of_the_wrong_kind_among_several_closes_the_connection(link: SyncRedis) -> None:
    wrong = calls.command(str, "ECHO", "7", kinds=calls.NUMBER)

    with pytest.raises(StorageDown, match="answer 2 of 3"):
        link.do_together([ECHO, wrong, ECHO])

    assert link.do(ECHO) == "hello"


def test_the_connections_of_a_dropped_client_are_closed_in_whatever_order_it_is_collected(
    state_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    with redis.Redis.from_url(state_url) as client:
        circle: list[Any] = [SyncRedis(client)]
        circle[0].do(ECHO)
        circle.append(circle)
        opened = circle[0]._connections._free[0][0]._sock
        gc.collect()  # what this frame refers to comes before what only the circle refers to

        del opened, circle
        gc.collect()

    assert [str(leak.exc_value) for leak in lost] == []


def test_threads_that_share_a_client_get_their_own_answers(link: SyncRedis) -> None:
    def ask(thread: int) -> None:
        for number in range(200):
            word = f"{thread}-{number}"
            assert link.do(calls.command(bytes.decode, "ECHO", word, kinds=calls.TEXT)) == word

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(8)))


def test_what_is_gathered_is_not_lost_when_whoever_sends_it_is_interrupted(
    link: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered = Batch[str](link)
    answers = [gathered.ask(ECHO) for _ in range(2)]

    def interrupted(*_: object) -> None:
        raise Struck

    with monkeypatch.context() as patch:
        patch.setattr(link, "do_together", interrupted)
        with pytest.raises(Struck):
            answers[0]()

    assert [answer() for answer in answers] == ["hello", "hello"]


def test_what_cannot_be_packed_is_not_gathered(link: SyncRedis) -> None:
    gathered = Batch[str](link)
    answer = gathered.ask(ECHO)

    with pytest.raises(UnicodeError):
        gathered.ask(calls.command(str, "ECHO", "\ud800", kinds=calls.TEXT))

    assert answer() == "hello"
