"""Erasure of all that belongs to a user: who waits for it, and which keys are theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage import keys, object_keys
from storage.redis.answers import fields, maybe_text, text, texts
from storage.redis.calls import ARRAY, FIELDS, MAYBE_TEXT, NUMBER, Call, command, script

NAMED = (
    "user-runs", "user-jobs", "user-shares", "user-keys", "upload", "upload-of", "upload-jobs",
    "idempotency", "session", "stored",
)  # fmt: skip
"""Kinds of keys that have the user's name in their own name, `px<layout>:<kind>:<user>`."""
NAMED_OF_ACCOUNT = ("user", "quota", "usage", "web-session", "web-sessions")
"""Those that stay while the account does: its limits must not be lifted by an erasure."""
NOTED = ("job", "run", "share", "key")
"""Kinds of hashes that have the user's name in their field `user`."""
LOOK = 200
"""Keys that one script looks at: it must stay below 20 ms on a busy machine too."""


@dataclass(frozen=True)
class Found:
    """What a part of all keys has of some users."""

    keys: Sequence[str]
    running: int
    """Their runs that have not ended; those are not among the keys."""
    next: str
    """Where the next part begins; empty after the last one."""


def request(user: str, *, with_account: bool) -> Call[int]:
    """Note that all data of this user are to be erased."""
    words = ("HSET", keys.ERASURES, user, int(with_account))
    return command(int, *words, kinds=NUMBER)


def requested() -> Call[Mapping[str, bool]]:
    """The users whose data are to be erased -> whether their accounts are, too."""

    def parse(answer: Any) -> Mapping[str, bool]:
        return {user: flag == "1" for user, flag in fields(answer).items()}

    return command(parse, "HGETALL", keys.ERASURES, kinds=FIELDS)


def is_requested(user: str) -> Call[bool]:
    """Whether the data of this user are still being erased."""
    return command(bool, "HEXISTS", keys.ERASURES, user, kinds=NUMBER)


def done(user: str) -> Call[int]:
    """Note that nothing of this user is left."""
    return command(int, "HDEL", keys.ERASURES, user, kinds=NUMBER)


def look_again(user: str, at_s: float) -> Call[int]:
    """Note that objects of this user may come until then, by addresses signed before."""
    return command(int, "ZADD", keys.ERASED, at_s, user, kinds=NUMBER)


def due(now_s: float) -> Call[list[str]]:
    """The users whose time to be looked at once more has come."""
    return command(texts, "ZRANGEBYSCORE", keys.ERASED, "-inf", now_s, kinds=ARRAY)


def looked_again(user: str) -> Call[int]:
    """Note that no more objects of this user come."""
    return command(int, "ZREM", keys.ERASED, user, kinds=NUMBER)


def lock(name: str, life_ms: int) -> Call[bool]:
    """Whether the process of this name may erase for so long from now on: no other does."""
    return script("lead_erasure", bool, [], {"name": name, "ttl_ms": life_ms}, kinds=NUMBER)


def unlock(name: str) -> Call[bool]:
    """Let another process erase, unless one does already, as this one was too slow."""
    return script("lead_erasure", bool, [], {"name": name, "ttl_ms": 0}, kinds=NUMBER)


def oldest_jobs(user: str, most: int) -> Call[list[str]]:
    """Ids in a user's history."""
    return command(texts, "ZRANGE", keys.user_jobs(user), 0, most - 1, kinds=ARRAY)


def forget_entries(user: str, job_ids: Sequence[str]) -> Call[int]:
    """Take jobs out of a user's history, whose records may be gone."""
    return command(int, "ZREM", keys.user_jobs(user), *job_ids, kinds=NUMBER)


def forget_history(user: str) -> Call[int]:
    """Take a user out of those who have a history."""
    return command(int, "ZREM", keys.HISTORIES, user, kinds=NUMBER)


def find_owned(users: Mapping[str, bool], cursor: str = "", *, look: int = LOOK) -> Call[Found]:
    """What a part of all keys of a Redis, state or cache, has of these users, as `requested` names
    them: of their accounts only where those go too."""

    def parse(answer: Sequence[Any]) -> Found:
        next_cursor, running, *found = answer
        after, names = text(next_cursor), texts(found)
        going = [name for name in names if not _stays(name, users)]
        return Found(going, int(running), "" if after == "0" else after)

    values = {
        "cursor": cursor or "0",
        "count": look,
        "users": dict.fromkeys(users, 1),
        "named": dict.fromkeys((*NAMED, *NAMED_OF_ACCOUNT), 1),
        "noted": dict.fromkeys(NOTED, 1),
        "results": object_keys.RESULTS,
    }
    return script("find_owned", parse, [], values, kinds=ARRAY)


def _stays(name: str, users: Mapping[str, bool]) -> bool:
    """Whether this key belongs to an account that stays."""
    kind, user = name.split(":")[1:3]
    return kind in NAMED_OF_ACCOUNT and not users.get(user)


def owner_of_job(job_id: str) -> Call[str | None]:
    """Whose job it is; None if there is none."""
    return command(maybe_text, "HGET", keys.job(job_id), "user", kinds=MAYBE_TEXT)


def remove(names: Sequence[str]) -> Call[int]:
    """Remove these keys."""
    return command(int, "UNLINK", *names, kinds=NUMBER)
