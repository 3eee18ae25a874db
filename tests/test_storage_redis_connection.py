"""Every answer of a shared connection goes to whoever asked, whatever is asked and whatever breaks.

On a real Redis. Each asker asks for values that only he can have asked for.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any
from urllib.parse import urlsplit

import proxy as proxies
import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from proxy import Proxy

from storage import uploads as stored_uploads
from storage.errors import StorageDown
from storage.redis import calls, connection
from storage.redis.calls import ARRAY, FIELDS, MAYBE_TEXT, NUMBER, TEXT, AsyncRedis, Call, command
from storage.redis.mismatches import mismatches

pytest_plugins = ["inprocess"]

ANSWERS = 100_000
"""In all examples of the property together."""
EXAMPLES, WAVES, ASKERS, QUESTIONS = 11, 3, 200, 16
LIMIT_S = 0.6

UNPACKABLE: tuple[Any, ...] = ("\ud800", "a\udfffb", None, True, [], {}, bytearray(b"x"), object())
FAULTS = ("kill", "abort", "cut", "cut at", "silent", "insert", "swallow", "push", "none")


def echo(word: str) -> Call[str]:
    """A call that answers what it is given."""
    return command(bytes.decode, "ECHO", word, kinds=TEXT)


def lua(text: str, *args: str | int, kinds: connection.Kinds) -> Call[Any]:
    """A script that is not one of ours."""
    return command(lambda answer: answer, "EVAL", text, 0, *args, kinds=kinds)


class Asker:
    """Asks one thing after another and knows its own answers."""

    def __init__(self, number: int, random: Random, seen: Counter[str]) -> None:
        self.number, self._random, self.seen = number, random, seen
        self._asked = itertools.count()

    def next(self) -> tuple[Call[Any], Callable[[Any], bool]]:
        """A call, and whether an answer to it is this asker's own."""
        who = f"<{self.number}>"
        word = f"{who}{next(self._asked)}{'.' * self._random.choice((0, 3, 50, 5000))}"
        number = self.number * 10_000 + next(self._asked)
        key, user = f"of:{who}", f"user{self.number}"
        return self._random.choice(
            (
                (echo(word), word.__eq__),
                (command(bool, "SET", key, word, kinds=TEXT), bool),
                (
                    command(lambda value: value or who.encode(), "GET", key, kinds=MAYBE_TEXT),
                    lambda value: value.startswith(who.encode()),
                ),
                (lua("return tonumber(ARGV[1])", number, kinds=NUMBER), number.__eq__),
                (
                    lua("return {ARGV[1], false, 7}", word, kinds=ARRAY),
                    [word.encode(), None, 7].__eq__,
                ),
                (lua("return false", kinds=MAYBE_TEXT), lambda answer: answer is None),
                (stored_uploads.write(user, "one", {"who": who}, ttl_s=60), (1).__eq__),
                (
                    stored_uploads.read(user, "one"),
                    lambda answer: answer in ({}, {"who": who}),
                ),
                (command(dict, "CONFIG", "GET", "no such setting", kinds=FIELDS), {}.__eq__),
            )
        )

    async def ask(self, link: AsyncRedis) -> None:
        """One question, or one that cannot be put, or that is given up, or that Redis refuses."""
        kind = self._random.random()
        if kind < 0.05:
            await self._unpackable(link)
        elif kind < 0.12:
            await self._given_up(link)
        elif kind < 0.17:
            await self._refused(link)
        else:
            call, is_own = self.next()
            try:
                answer = await link.do(call)
            except StorageDown:
                self.seen["down"] += 1
                return
            self.seen["answers"] += 1
            assert is_own(answer), (self.number, call.words, answer)

    async def _unpackable(self, link: AsyncRedis) -> None:
        odd = self._random.choice(UNPACKABLE)
        words: tuple[Any, ...] = self._random.choice((("ECHO", odd), ("SET", "x", odd, 1), ()))
        with pytest.raises((UnicodeError, TypeError, ValueError)):
            await link.do(command(str, *words, kinds=TEXT))
        self.seen["unpackable"] += 1

    async def _given_up(self, link: AsyncRedis) -> None:
        gone = asyncio.ensure_future(link.do(self.next()[0]))
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
        gone.cancel()
        self.seen["given up"] += 1

    async def _refused(self, link: AsyncRedis) -> None:
        word = f"refused-{self.number}-{next(self._asked)}"
        call = lua("return redis.error_reply('ERR ' .. ARGV[1])", word, kinds=TEXT)
        with pytest.raises(StorageDown) as refused:
            await link.do(call)
        if "refused-" in str(refused.value):
            self.seen["answers"] += 1
            assert str(refused.value).endswith(word), (word, str(refused.value))


class Breaker:
    """Does one fault to the connection while askers ask."""

    def __init__(
        self, proxy: Proxy, link: AsyncRedis, state: "redis.Redis", random: Random
    ) -> None:
        self._proxy, self._link, self._state, self._random = proxy, link, state, random

    async def do(self, fault: str) -> None:
        """Once, somewhere in the middle."""
        for _ in range(self._random.randrange(30)):
            await asyncio.sleep(0)
        at = self._random.choice((0, 0, 1, 17, 500, 10_000))
        if fault == "kill" and self._proxy.upstream:
            self._state.client_kill_filter(addr=self._proxy.upstream)
        elif fault == "abort" and self._link._connection:
            self._link._connection._transport.abort()
        elif fault == "cut":
            self._proxy.cut()
        elif fault == "silent":
            self._proxy.is_silent = True
            await asyncio.sleep(LIMIT_S * 2)
            self._proxy.is_silent = False
        elif fault in ("cut at", "insert", "swallow", "push"):
            self._proxy.meddle = _once_at(at, fault, self._proxy)

    def mend(self) -> None:
        """No fault from here on."""
        self._proxy.meddle, self._proxy.is_silent = None, False


def _once_at(at: int, fault: str, proxy: Proxy) -> proxies.Meddle:
    """Meddle with the answers after so many bytes, once; 0: before the next answer."""
    left = at

    def meddle(data: bytes) -> bytes | None:
        nonlocal left
        if left >= len(data):
            left -= len(data)
            return data
        proxy.meddle = None
        if fault == "cut at":
            return None
        inserted = {"insert": b"$4\r\nmore\r\n", "push": b">2\r\n+one\r\n+two\r\n"}.get(fault, b"")
        rest = data[left:]
        return data[:left] + inserted + (_without_first(rest) if fault == "swallow" else rest)

    return meddle


def _without_first(answers: bytes) -> bytes:
    line, _, rest = answers.partition(b"\r\n")
    return rest[int(line[1:]) + 2 :] if line[:1] == b"$" and line[1:].isdigit() else rest


waves = st.lists(
    st.tuples(st.sampled_from(FAULTS), st.integers(0, 2**32)), min_size=WAVES, max_size=WAVES
)


async def play(port: int, state: "redis.Redis", waves: Any, seen: Counter[str]) -> None:
    """Waves of askers over one AsyncRedis; what was broken in one is whole again in the next."""
    async with proxies.before(port) as proxy:
        link = AsyncRedis(f"redis://127.0.0.1:{proxy.port}/9", "the state Redis", LIMIT_S)
        for fault, seed in waves:
            random = Random(seed)
            breaker = Breaker(proxy, link, state, random)
            askers = [Asker(number, random, seen) for number in range(ASKERS)]
            breaks_at = random.randrange(QUESTIONS)
            for number in range(QUESTIONS):
                if number == breaks_at:
                    broken = asyncio.create_task(breaker.do(fault))
                await asyncio.gather(*(asker.ask(link) for asker in askers))
            await broken
            breaker.mend()
            seen[fault] += 1
            for _ in range(3):  # the fault may have met nobody yet
                try:
                    assert await link.do(echo("whole")) == "whole"
                    break
                except StorageDown:
                    continue
        await link.close()


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost connection is opened again at once."""
    monkeypatch.setattr(calls, "PAUSE_S", 0.001)


@pytest.mark.usefixtures("no_pause")
def test_every_answer_is_its_askers_whatever_breaks(state_url: str, state: "redis.Redis") -> None:
    port, seen = urlsplit(state_url).port or 0, Counter[str]()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(waves)
    def check(drawn: list[tuple[str, int]]) -> None:
        asyncio.run(play(port, state, drawn, seen))

    check()
    for fault in set(FAULTS) - seen.keys():  # not drawn
        asyncio.run(play(port, state, [(fault, 1)], seen))
    while seen["answers"] < ANSWERS:
        asyncio.run(play(port, state, [("kill", seen["answers"])], seen))

    print(dict(seen))
    assert seen["unpackable"] > 1000 and seen["given up"] > 1000


# One connection, one fault at a time


@pytest.fixture
async def proxy(state_url: str) -> AsyncIterator[Proxy]:
    """Before the state Redis."""
    async with proxies.before(urlsplit(state_url).port or 0) as proxy:
        yield proxy


@pytest.fixture
async def link(proxy: Proxy, no_pause: None) -> AsyncIterator[AsyncRedis]:
    """Through the proxy, connected."""
    link = AsyncRedis(f"redis://127.0.0.1:{proxy.port}/9", "the state Redis", 1.0)
    assert await link.do(echo("here")) == "here"
    yield link
    await link.close()


async def client_id(link: AsyncRedis) -> int:
    """Which connection it has."""
    return await link.do(command(int, "CLIENT", "ID", kinds=NUMBER))


@pytest.mark.parametrize("odd", UNPACKABLE)
async def test_what_cannot_be_packed_was_not_asked(link: AsyncRedis, odd: Any) -> None:
    before = await client_id(link)
    asked = [link.do(echo("first")), link.do(command(str, "ECHO", odd, kinds=TEXT))]

    answers = await asyncio.gather(*asked, link.do(echo("last")), return_exceptions=True)

    assert answers[::2] == ["first", "last"]
    assert isinstance(answers[1], UnicodeError | TypeError)
    assert await link.do(echo("next")) == "next"
    assert await client_id(link) == before, "nobody is any the worse for it"


async def test_no_command_at_all_is_refused(link: AsyncRedis) -> None:
    with pytest.raises(ValueError, match="no command"):
        await link.do(command(str, kinds=TEXT))

    assert await link.do(echo("next")) == "next"


@pytest.mark.parametrize(
    "surplus",
    [b"+OK\r\n", b"$3\r\none\r\n", b"#f\r\n", b"*1\r\n:1\r\n", b">2\r\n+a\r\n+b\r\n", b"?"],
)
async def test_what_nobody_asked_for_ends_the_connection(
    proxy: Proxy, link: AsyncRedis, surplus: bytes
) -> None:
    before = await client_id(link)

    proxy.say(surplus)
    await asyncio.sleep(0.05)

    assert await link.do(echo("mine")) == "mine"
    assert await client_id(link) != before


@pytest.mark.parametrize("fault", ["insert", "push"])
async def test_no_answer_is_handed_over_that_is_not_in_its_place(
    proxy: Proxy, link: AsyncRedis, fault: str
) -> None:
    """The fault comes together with the answers: there is no time in which it could be noticed."""
    before, counted = await client_id(link), mismatches.count
    proxy.meddle = _once_at(0, fault, proxy)

    answers = await asyncio.gather(*(link.do(echo(f"word {n}")) for n in range(20)))

    assert answers == [f"word {n}" for n in range(20)]
    assert await client_id(link) != before
    assert mismatches.count == counted + 1


async def test_where_an_answer_is_missing_none_of_those_after_it_is_handed_over(
    proxy: Proxy, link: AsyncRedis
) -> None:
    proxy.meddle = _once_at(0, "swallow", proxy)
    asked = [link.do(echo(f"word {n}")) for n in range(20)]

    answers = await asyncio.gather(*asked, return_exceptions=True)

    assert all(isinstance(error, StorageDown) for error in answers)
    assert await link.do(echo("mine")) == "mine"


async def test_an_answer_of_the_wrong_kind_ends_the_connection_and_is_counted(
    link: AsyncRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    before, counted = await client_id(link), mismatches.count
    wrong = command(int, "ECHO", "7", kinds=NUMBER)

    answers = await asyncio.gather(link.do(wrong), link.do(echo("mine")), return_exceptions=True)

    assert isinstance(answers[0], StorageDown)
    assert answers[1] == "mine", "it was asked again"
    assert await client_id(link) != before
    assert mismatches.count == counted + 1
    assert "bytes, not int" in capsys.readouterr().out


async def test_an_error_that_redis_answers_is_of_every_kind(link: AsyncRedis) -> None:
    before = await client_id(link)

    with pytest.raises(StorageDown, match="no such"):
        await link.do(lua("return redis.error_reply('ERR no such')", kinds=NUMBER))

    assert await client_id(link) == before


async def test_no_more_is_asked_than_a_connection_may_have_in_hand(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MOST_PENDING", 50)
    # Calls that wait for room are as patient as a busy machine needs.
    link = AsyncRedis(f"redis://127.0.0.1:{proxy.port}/9", "the state Redis", 30)
    most = 0

    async def ask(number: int) -> None:
        nonlocal most
        assert await link.do(echo(str(number))) == str(number)
        most = max(most, link._connection._pending if link._connection else 0)

    await asyncio.gather(*(ask(number) for number in range(1000)))

    await link.close()
    assert 0 < most <= 50


async def test_who_waits_for_room_hears_in_time_of_a_redis_that_hangs(
    proxy: Proxy, link: AsyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MOST_PENDING", 5)
    proxy.is_silent = True

    answers = await asyncio.wait_for(
        asyncio.gather(*(link.do(echo(str(n))) for n in range(20)), return_exceptions=True), 10
    )

    assert all(isinstance(error, StorageDown) for error in answers)
    proxy.is_silent = False
    assert await link.do(echo("mine")) == "mine"
