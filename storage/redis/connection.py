"""A connection to Redis that a whole asyncio process shares: no request waits for a free one.

Only its position says which question an answer belongs to, and the answers here are of all users.
So the questions of one turn of the loop are followed by a proof, an ECHO of a word that nobody else
knows, and none of their answers is handed over before that word has come in exactly its position.
An answer that does not fit closes the connection, and all who wait on it ask again on another.
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
"""Unanswered questions of a connection; further ones wait in the process."""

Word = str | bytes | int | float
"""A word of a command."""
Kinds = tuple[type, ...]
"""What Python types an answer may have."""

PROOFS = 64
"""A proof is used again after so many batches; an answer as late as that cannot come."""

_NOT_YET = object()  # hiredis says False by itself, which is an answer too

# Plain tuples, as a named one costs as much CPU as reading an answer.
_Question = tuple[bytes, Kinds, "asyncio.Future[Any]"]
"""Packed, what kinds its answer may be of, who waits for it."""
_Batch = tuple[float, Sequence[_Question], bytes]
"""When it was sent, its questions, and the word that comes after their answers."""


class OutOfPlace(Exception):
    """An answer cannot belong to the question at its position."""


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
    for position, (answer, expected) in enumerate(zip(answers, kinds, strict=True)):
        if not isinstance(answer, (*expected, RedisError)):
            names = " or ".join(kind.__name__ for kind in expected)
            return f"answer {position + 1} of {len(answers)}: {type(answer).__name__}, not {names}"
    return ""


class PipelinedConnection(asyncio.Protocol):
    """Commands go out as they are asked, answers come back in their order.

    redis-py opens the connection and greets. docs/benchmarks/wire.md says why the rest is written
    by hand. It belongs to the event loop that has opened it.
    """

    def __init__(self, connection: Any, limit_s: float | None = None, name: str = "Redis") -> None:
        """A connection that leaves a command unanswered for `limit_s` is given up; None: never."""
        self._connection, self._limit_s, self.name = connection, limit_s, name
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=BaseParser.parse_error,
            notEnoughData=_NOT_YET,
        )
        self._unsent: list[_Question] = []
        """Asked in this turn of the loop, not sent yet."""
        self._sent: deque[_Batch] = deque()
        self._answers: list[Any] = []
        """The answers to the oldest batch that have come so far."""
        self._due = 0
        """How many questions that batch has; its proof comes after their answers."""
        mark = secrets.token_hex(14).encode()
        self._proofs = cycle([pack(("ECHO", b"%b%04x" % (mark, n))) for n in range(PROOFS)])
        self._pending = 0
        self._room, self._is_waited = asyncio.Event(), False
        self._timer: asyncio.TimerHandle | None = None  # one for all: a timer each costs more
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
            protocol=2,  # Redis sends nothing but answers
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
        """Whether there are MOST_PENDING unanswered questions: wait for `room` first."""
        return self._pending >= MOST_PENDING

    async def room(self) -> None:
        """Returns once there is room for another question, or once the connection is lost."""
        while self.is_full and not self.is_lost:
            self._room.clear()
            self._is_waited = True
            await self._room.wait()

    def ask(self, packed: bytes, kinds: Kinds) -> "asyncio.Future[Any]":
        """The future answer to one packed command; TimeoutError if that takes too long.

        It may be cancelled.
        """
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self.is_lost:
            answer.set_exception(ConnectionError("the connection was lost"))
            return answer
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append((packed, kinds, answer))
        self._pending += 1
        return answer

    async def close(self) -> None:
        """Close the connection; questions without an answer fail."""
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
        """Send the questions of one turn of the loop in one system call."""
        if self.is_lost:
            return
        try:
            questions, proof = self._unsent, next(self._proofs)
            self._sent.append((self._loop.time(), questions, proof[-34:-2]))
            self._unsent = []
            self._due = len(self._sent[0][1])
            packed = [question[0] for question in questions]
            packed.append(proof)
            self._transport.write(b"".join(packed))
            if self._limit_s is not None and self._timer is None:
                self._timer = self._loop.call_later(self._limit_s, self._check_time)
        except BaseException as error:
            self._lose(ConnectionError(str(error) or type(error).__name__))
            raise

    def _settle(self) -> None:
        """Hand over the answers to the oldest batch, once its proof has come."""
        answers = self._answers
        if not self._sent:
            raise OutOfPlace("an answer to no question")
        _, questions, proof = self._sent[0]
        if answers.pop() != proof:
            raise OutOfPlace(f"no proof after {len(questions)} answers")
        for question, answer in zip(questions, answers):  # noqa: B905  # strict costs as much again
            if not isinstance(answer, question[1]):
                self._check(questions, answers)
        self._answers = []
        self._sent.popleft()
        self._due = len(self._sent[0][1]) if self._sent else 0
        self._pending -= len(answers)
        if self._is_waited:
            self._room.set()
        for question, answer in zip(questions, answers):  # noqa: B905  # as above
            _resolve(question[2], answer)

    def _check(self, questions: Sequence[_Question], answers: Sequence[Any]) -> None:
        """Raise OutOfPlace if an answer is neither of its kind nor an error that Redis answered."""
        if not (reason := wrong_kind(answers, [kinds for _, kinds, _ in questions])):
            return
        for (_, kinds, waiting), answer in zip(questions, answers, strict=True):
            if wrong_kind([answer], [kinds]):  # asked again, it would get the same answer
                _resolve(waiting, InvalidResponse("an answer of the wrong kind came"))
        raise OutOfPlace(reason)

    def _check_time(self) -> None:
        """Give the connection up if its oldest question has had no answer for too long."""
        self._timer, limit_s = None, self._limit_s or 0.0
        overdue_s = self._loop.time() - limit_s
        if not self._sent:
            return
        if self._sent[0][0] > overdue_s:
            self._timer = self._loop.call_at(self._sent[0][0] + limit_s, self._check_time)
            return
        for at_s, questions, _ in self._sent:
            if at_s <= overdue_s:
                for _, _, waiting in questions:
                    _resolve(waiting, TimeoutError(f"silent for {limit_s:g} s"))
        # Later questions would not be answered sooner here: they are asked again on another.
        self._lose(ConnectionError("the connection was given up"))

    def _lose(self, error: Exception) -> None:
        """Never use this connection again; everybody who waits gets the error."""
        self.is_lost = True
        self._transport.abort()
        if self._timer:
            self._timer.cancel()
        batches, self._sent = self._sent, deque()
        unsent, self._unsent = self._unsent, []
        for questions in (*(questions for _, questions, _ in batches), unsent):
            for _, _, waiting in questions:
                _resolve(waiting, error)
        self._room.set()


def _resolve(waiting: "asyncio.Future[Any]", answer: Any) -> None:
    """Hand over an answer or an error; the future may be cancelled by now."""
    if waiting.done():
        return
    if isinstance(answer, Exception):
        waiting.set_exception(answer)
    else:
        waiting.set_result(answer)
