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
from itertools import cycle
from typing import Any, Self

import hiredis
import redis.asyncio
from redis._parsers import BaseParser
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, InvalidResponse, RedisError

from storage.redis.mismatches import mismatches

MOST_PENDING = 1000
"""Questions that a connection has in hand; whoever comes then waits in the process."""

Word = str | bytes | int | float
"""A word of a command."""
Kinds = tuple[type, ...]
"""What Python types an answer may have."""

PROOFS = 64
"""After so many batches a proof comes again: an answer so late would be of another connection."""

_NOT_YET = object()  # hiredis says False by itself, which is an answer too

# Plain tuples, as a named one costs as much CPU as reading an answer.
_Question = tuple[bytes, Kinds, "asyncio.Future[Any]"]
"""Packed, what kinds its answer may be of, who waits for it."""
_Batch = tuple[float, Sequence[_Question], bytes]
"""When it was sent, its questions, and the word that comes after their answers."""


class OutOfPlace(Exception):
    """An answer cannot be the one to the question in its place."""


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


class PipelinedConnection(asyncio.Protocol):
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
        """To the oldest batch, so far,"""
        self._due = 0
        """of so many: then comes its proof."""
        mark = secrets.token_hex(14).encode()
        self._proofs = cycle([pack(("ECHO", b"%b%04x" % (mark, n))) for n in range(PROOFS)])
        self._pending = 0
        self._room, self._is_waited = asyncio.Event(), False
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
            self._is_waited = True
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
        self._gathered.append((packed, kinds, answer))
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
                self._answers.append(answer)
                if len(self._answers) > self._due:
                    self._settle()
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
            questions, proof = self._gathered, next(self._proofs)
            self._sent.append((self._loop.time(), questions, proof[-34:-2]))
            self._gathered = []
            self._due = len(self._sent[0][1])
            packed = [question[0] for question in questions]
            packed.append(proof)
            self._transport.write(b"".join(packed))
            if self._limit_s is not None and self._looking is None:
                self._looking = self._loop.call_later(self._limit_s, self._look)
        except BaseException as error:
            self._lose(ConnectionError(str(error) or type(error).__name__))
            raise

    def _settle(self) -> None:
        """Hand over the answers to the oldest batch, once all of them have proven to be its."""
        answers = self._answers
        if not self._sent:
            raise OutOfPlace("an answer to no question")
        _, questions, proof = self._sent[0]
        if answers.pop() != proof:
            raise OutOfPlace(f"no proof after {len(questions)} answers")
        for question, found in zip(questions, answers):  # noqa: B905  # strict costs as much again
            if not isinstance(found, question[1]):
                self._check(questions, answers)
        self._answers = []
        self._sent.popleft()
        self._due = len(self._sent[0][1]) if self._sent else 0
        self._pending -= len(answers)
        if self._is_waited:
            self._room.set()
        for question, found in zip(questions, answers):  # noqa: B905  # as above
            _tell(question[2], found)

    def _check(self, questions: Sequence[_Question], answers: Sequence[Any]) -> None:
        """Raise OutOfPlace if an answer is neither of its kind nor an error that Redis answered."""
        if not (reason := wrong_kind(answers, [kinds for _, kinds, _ in questions])):
            return
        for (_, kinds, waiting), found in zip(questions, answers, strict=True):
            if wrong_kind([found], [kinds]):  # it would not fare better on another connection
                _tell(waiting, InvalidResponse("an answer of the wrong kind came"))
        raise OutOfPlace(reason)

    def _look(self) -> None:
        """Give up if Redis has left what was asked first unanswered for too long."""
        self._looking, limit_s = None, self._limit_s or 0.0
        overdue_s = self._loop.time() - limit_s
        if not self._sent:
            return
        if self._sent[0][0] > overdue_s:
            self._looking = self._loop.call_at(self._sent[0][0] + limit_s, self._look)
            return
        for at_s, questions, _ in self._sent:
            if at_s <= overdue_s:
                for _, _, waiting in questions:
                    _tell(waiting, TimeoutError(f"silent for {limit_s:g} s"))
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
        for questions in (*(questions for _, questions, _ in batches), unsent):
            for _, _, waiting in questions:
                _tell(waiting, error)
        self._room.set()


def _tell(waiting: "asyncio.Future[Any]", found: Any) -> None:
    """Hand an answer, or an error, to whoever waits; maybe nobody does any more."""
    if waiting.done():
        return
    if isinstance(found, Exception):
        waiting.set_exception(found)
    else:
        waiting.set_result(found)
