"""A connection to Redis that all of an asyncio process share: nobody waits for a free one.

An answer has nothing but its place to say whose it is, and the answers here are of all users. So
what is asked in one turn of the loop is followed by a proof, an ECHO of a word that nobody else
knows, and none of these answers is handed over before that word has come in exactly its place. What
does not fit ends the connection, and everybody who waits on it asks again on another.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple, Self

import hiredis
import redis.asyncio
from redis._parsers import BaseParser
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, InvalidResponse, RedisError

from storage.mismatches import mismatches

MOST_PENDING = 1000
"""Questions that a connection has in hand; whoever comes then waits in the process."""

Kinds = tuple[type, ...]
"""What Python types an answer may have."""

_PROOF = b"*2\r\n$4\r\nECHO\r\n$32\r\n%b\r\n"
_NOT_YET = object()  # hiredis says False by itself, which is an answer too


class OutOfPlace(Exception):
    """An answer cannot be the one to the question in its place."""


class _Question(NamedTuple):
    packed: bytes
    kinds: Kinds
    waiting: "asyncio.Future[Any]"


class _Batch(NamedTuple):
    """Questions that were sent together, and the word that comes after their answers."""

    at_s: float
    questions: Sequence[_Question]
    proof: bytes


def pack(words: tuple[Any, ...]) -> bytes:
    """A command as it is sent. Raises UnicodeError, TypeError or ValueError for what is none."""
    if not words:
        raise ValueError("no command: Redis would not answer")
    packed: bytes = hiredis.pack_command(words)
    return packed


def wrong_kind(answers: Sequence[Any], kinds: Sequence[Kinds]) -> str:
    """What is wrong with the first answer that is neither of its kind nor an error; else empty."""
    if all(map(isinstance, answers, kinds)):
        return ""
    for place, (answer, expected) in enumerate(zip(answers, kinds, strict=True)):
        if not isinstance(answer, (*expected, RedisError)):
            names = " or ".join(kind.__name__ for kind in expected)
            return f"answer {place + 1} of {len(answers)}: {type(answer).__name__}, not {names}"
    return ""


class Wire(asyncio.Protocol):
    """Commands go out as they are asked, answers come back in their order.

    redis-py opens the connection and greets. docs/benchmarks/wire.md says why the rest is written
    by hand. Only of the event loop that has opened it.
    """

    def __init__(self, connection: Any, limit_s: float | None = None, name: str = "Redis") -> None:
        """A Redis that leaves a command unanswered for `limit_s` is given up; None: never."""
        self._connection, self._limit_s, self.name = connection, limit_s, name
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=BaseParser.parse_error,
            notEnoughData=_NOT_YET,
        )
        self._gathered: list[_Question] = []
        """Asked in this turn of the loop, not sent yet."""
        self._sent: deque[_Batch] = deque()
        self._answers: list[Any] = []
        """To the oldest batch, so far."""
        self._mark, self._number = secrets.token_hex(8).encode(), count()
        self._pending = 0
        self._room = asyncio.Event()
        self._looking: asyncio.TimerHandle | None = None  # one for all: a timer each costs more
        self._transport: Any = connection._writer.transport
        self._transport.set_protocol(self)
        self.is_lost = False

    @classmethod
    async def open(cls, url: str, limit_s: float | None = None, name: str = "Redis") -> Self:
        """Connect. Raises redis-py's ConnectionError or TimeoutError."""
        pool: Any = redis.asyncio.ConnectionPool.from_url(  # redis-py does not type it
            url,
            socket_timeout=limit_s,
            socket_connect_timeout=limit_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # in which nothing comes that was not asked for
        )
        connection = pool.make_connection()
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return cls(connection, limit_s, name)

    @property
    def is_full(self) -> bool:
        """Whether as much is asked as a connection may have in hand: wait for `room` first."""
        return self._pending >= MOST_PENDING

    async def room(self) -> None:
        """Returns once there is room for another question, or once the connection is lost."""
        while self.is_full and not self.is_lost:
            self._room.clear()
            await self._room.wait()

    def ask(self, packed: bytes, kinds: Kinds) -> "asyncio.Future[Any]":
        """What Redis will answer to one packed command, TimeoutError if that takes too long.

        Whoever gives up waiting may cancel it.
        """
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self.is_lost:
            answer.set_exception(ConnectionError("the connection was lost"))
            return answer
        if not self._gathered:
            self._loop.call_soon(self._send)
        self._gathered.append(_Question(packed, kinds, answer))
        self._pending += 1
        return answer

    async def close(self) -> None:
        """Give up on whatever is still asked."""
        self._lose(ConnectionError("the connection was closed"))
        await self._connection.disconnect(nowait=True)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self.is_lost:
            return
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not _NOT_YET:
                self._take(answer)
        except OutOfPlace as error:
            mismatches.report(self.name, str(error))
            self._lose(ConnectionError(f"a wrong answer came: {error}"))
        except BaseException as error:
            self._lose(ConnectionError(str(error) or type(error).__name__))
            if not isinstance(error, InvalidResponse):
                raise

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop."""
        self._lose(ConnectionError(str(error or "Redis has closed the connection")))

    def _send(self) -> None:
        """What was asked in one turn of the loop, in one system call."""
        if self.is_lost:
            return
        try:
            questions, proof = self._gathered, b"%b%016x" % (self._mark, next(self._number))
            self._sent.append(_Batch(self._loop.time(), questions, proof))
            self._gathered = []
            packed = [question.packed for question in questions]
            packed.append(_PROOF % proof)
            self._transport.write(b"".join(packed))
            if self._limit_s is not None and self._looking is None:
                self._looking = self._loop.call_later(self._limit_s, self._look)
        except BaseException as error:
            self._lose(ConnectionError(str(error) or type(error).__name__))
            raise

    def _take(self, answer: Any) -> None:
        if not self._sent:
            raise OutOfPlace("an answer to no question")
        self._answers.append(answer)
        batch = self._sent[0]
        if len(self._answers) <= len(batch.questions):
            return
        if self._answers.pop() != batch.proof:
            raise OutOfPlace(f"no proof after {len(batch.questions)} answers")
        self._check(batch)
        answers, self._answers = self._answers, []
        self._sent.popleft()
        self._pending -= len(answers)
        self._room.set()
        for question, found in zip(batch.questions, answers, strict=True):
            _tell(question.waiting, found)

    def _check(self, batch: _Batch) -> None:
        """Raise OutOfPlace if an answer is of no kind that its question allows."""
        kinds = [question.kinds for question in batch.questions]
        if not (reason := wrong_kind(self._answers, kinds)):
            return
        for question, found in zip(batch.questions, self._answers, strict=True):
            if wrong_kind([found], [question.kinds]):  # it would not fare better on another
                _tell(question.waiting, InvalidResponse("an answer of the wrong kind came"))
        raise OutOfPlace(reason)

    def _look(self) -> None:
        """Give up if Redis has left what was asked first unanswered for too long."""
        self._looking, limit_s = None, self._limit_s or 0.0
        overdue_s = self._loop.time() - limit_s
        if not self._sent:
            return
        if self._sent[0].at_s > overdue_s:
            self._looking = self._loop.call_at(self._sent[0].at_s + limit_s, self._look)
            return
        for batch in self._sent:
            if batch.at_s <= overdue_s:
                for question in batch.questions:
                    _tell(question.waiting, TimeoutError(f"silent for {limit_s:g} s"))
        # What was asked later would not be answered sooner: it is asked again on another.
        self._lose(ConnectionError("the connection was given up"))

    def _lose(self, error: Exception) -> None:
        """Never use this connection again, and let everybody know who waits."""
        self.is_lost = True
        self._transport.abort()
        if self._looking:
            self._looking.cancel()
        batches, self._sent = self._sent, deque()
        unsent, self._gathered = self._gathered, []
        for questions in (*(batch.questions for batch in batches), unsent):
            for question in questions:
                _tell(question.waiting, error)
        self._room.set()


def _tell(waiting: "asyncio.Future[Any]", found: Any) -> None:
    """Hand an answer, or an error, to whoever waits; maybe nobody does any more."""
    if waiting.done():
        return
    if isinstance(found, Exception):
        waiting.set_exception(found)
    else:
        waiting.set_result(found)
