"""Blocking connections to a Redis, kept in a list: workers ask on them."""

import os
import weakref
from collections.abc import Sequence
from typing import Any

from redis.exceptions import InvalidResponse, RedisError, ResponseError

from storage.redis.connection import Kinds, Word, pack, wrong_kind
from storage.redis.mismatches import mismatches


class Connections:
    """Connections of a client's pool, kept in a list: redis-py's own bookkeeping of who uses which
    costs as much CPU as a small command. Safe for threads; a forked process starts with none.

    A connection goes back into the list only once every answer to what was asked on it was read.
    If anything is raised before that, even by a signal or while it is being closed, it is not used
    again.
    """

    def __init__(self, pool: Any, name: str = "Redis") -> None:
        self.pool: Any = pool  # redis-py does not type make_connection
        self.name = name
        self._free: list[tuple[Any, int]] = []  # each with its number of unread answers
        self._pid = os.getpid()
        # Not left to redis-py's `__del__`: in a cycle, a socket may be collected before it.
        weakref.finalize(self, _close_all, self._free).atexit = False

    def ask(self, commands: Sequence[tuple[Word, ...]], kinds: Sequence[Kinds]) -> list[Any]:
        """Answers of these commands, sent together; an error that Redis answers is one of them."""
        packed = [b"".join([pack(words) for words in commands])]  # before a connection is taken
        connection = self._take()
        try:
            connection.send_packed_command(packed)
            answers = [_read_answer(connection) for _ in commands]
            if reason := wrong_kind(answers, kinds):
                mismatches.report(self.name, reason)
                raise InvalidResponse(f"a wrong answer came: {reason}")
        except BaseException:
            connection.disconnect()
            raise
        self._free.append((connection, 0))
        return answers

    def tell(self, commands: Sequence[tuple[Word, ...]]) -> None:
        """Send commands without waiting: the next user of the connection reads their answers.

        For commands that no work depends on. Redis gets them before all that is sent later.
        """
        packed = [b"".join([pack(words) for words in commands])]  # before a connection is taken
        connection = self._take()
        try:
            connection.send_packed_command(packed)
        except BaseException:
            connection.disconnect()
            raise
        self._free.append((connection, len(commands)))

    def _take(self) -> Any:
        """A connection without unread answers; one that was closed is opened when it is used."""
        if self._pid != os.getpid():
            self._free.clear()
            self._pid = os.getpid()
        try:
            connection, unread = self._free.pop()
        except IndexError:
            # The pool would count it, and those that are dropped would use up its limit.
            return self.pool.connection_class(**self.pool.connection_kwargs)
        try:
            for _ in range(unread):
                _read_answer(connection)
        except (RedisError, OSError):
            connection.disconnect()  # it is opened again when it is used
        return connection


def _close_all(free: list[tuple[Any, int]]) -> None:
    for connection, _ in free:
        connection.disconnect()


def _read_answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error
