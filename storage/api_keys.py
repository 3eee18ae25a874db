"""API keys in the state Redis: stored as SHA-256, with scopes, an expiry and their last use.

SHA-256 without salt is enough, as a key is 256 random bits: nobody can try them one by one.
"""

import hashlib
import secrets
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

from storage import keys
from storage.redis.answers import fields
from storage.redis.calls import ARRAY, MAYBE_ARRAY, NUMBER, Call, script
from storage.times import rfc3339
from storage.users import Role, as_role

Scope = Literal["run", "read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""`read`: see jobs, results and models. `run`: hand in work, cancel and delete it. `admin`: manage
the account, its keys and its data, and what the account's role allows beyond its own things."""
DEFAULT_SCOPES: tuple[Scope, ...] = ("run", "read")
BEGINNING = "pm_"
"""What every key of ours begins with, so that searches for leaked secrets find them."""
SHOWN = 10
"""Characters of a key that lists of keys show."""
SHORTEST = 32
"""A key with fewer characters shows nothing of itself."""
MOST_KEYS = 100
"""Of one user."""
DAY_MS = 86_400_000
USED_EVERY_MS = 60_000
"""How often the time of a key's last use is written."""


@dataclass(frozen=True)
class ApiKey:
    """What is known of an API key; the key itself is not."""

    id: str
    user: str
    name: str
    """What its user calls it."""
    prefix: str
    """How the key begins."""
    scopes: frozenset[str]
    """Some of SCOPES."""
    created_ms: int
    """Since 1970, as all times here."""
    expires_ms: int
    """0: never."""
    used_ms: int
    """To the minute; 0: never."""
    role: Role = "user"
    """Of the account."""

    def has_expired(self, now_ms: float) -> bool:
        """Whether it opens nothing any more."""
        return bool(self.expires_ms) and self.expires_ms <= now_ms


class KeyBody(TypedDict):
    """web/api/me_schemas.py: Key."""

    id: str
    name: str
    prefix: str
    scopes: Sequence[Scope]
    created: str
    expires: str | None
    last_used: str | None


def as_json(key: ApiKey, timespec: Literal["seconds", "milliseconds"] = "milliseconds") -> KeyBody:
    """A key with the names of the API."""
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": ordered(key.scopes),
        "created": rfc3339(key.created_ms, timespec),
        "expires": rfc3339(key.expires_ms, timespec) if key.expires_ms else None,
        "last_used": rfc3339(key.used_ms, timespec) if key.used_ms else None,
    }


def ordered(scopes: Collection[str]) -> list[Scope]:
    """Those of SCOPES that are among these."""
    return [scope for scope in SCOPES if scope in scopes]


def expiry_ms(days: float | None) -> int:
    """When a key expires that is made now for so many days; 0: never, as without any days."""
    return int(time.time() * 1000 + days * DAY_MS) if days else 0


def new_secret() -> str:
    """A new key: 256 random bits."""
    return BEGINNING + secrets.token_urlsafe(32)


def id_of(secret: str) -> str:
    """The id of a key: 16 hex digits."""
    return _digest(secret)[:16]


def add(
    secret: str,
    user: str,
    *,
    name: str = "",
    scopes: Iterable[str] = SCOPES,
    expires_ms: int = 0,
) -> Call[ApiKey | None]:
    """Make this an API key of this user; None if the user has MOST_KEYS already.

    A key that exists is written again, with the time of its making and of its last use kept.
    """
    digest, key_id = _digest(secret), id_of(secret)
    record = {
        "id": key_id,
        "user": user,
        "name": name,
        "prefix": secret[:SHOWN] if len(secret) >= SHORTEST else "",
        "scopes": " ".join(ordered(set(scopes))),
        "expires": str(expires_ms),
    }
    values = {"record": record, "digest": digest, "most": MOST_KEYS}
    names = [keys.api_key(secret), keys.user_keys(user)]
    return script("add_api_key", _maybe_key, names, values, kinds=MAYBE_ARRAY)


def look_up(secret: str) -> Call[ApiKey | None]:
    """The key, which counts as a use of it; None if it is unknown, has expired, or its account is
    disabled."""
    values = {"every_ms": USED_EVERY_MS}
    return script("use_api_key", _maybe_key, [keys.api_key(secret)], values, kinds=MAYBE_ARRAY)


def of_user(user: str) -> Call[list[ApiKey]]:
    """All keys of this user, the oldest first, those that have expired included."""
    return script("list_api_keys", _keys, [keys.user_keys(user)], {}, kinds=ARRAY)


def revoke(user: str, key_id: str) -> Call[bool]:
    """End a key of this user; False if the user has no such key."""
    values = {"id": key_id}
    return script("revoke_api_key", bool, [keys.user_keys(user)], values, kinds=NUMBER)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _maybe_key(answer: Sequence[Any] | None) -> ApiKey | None:
    return _key(answer) if answer else None


def _keys(answer: Sequence[Any]) -> list[ApiKey]:
    return sorted((_key(item) for item in answer), key=lambda key: (key.created_ms, key.id))


def _key(answer: Any) -> ApiKey:
    record = fields(answer)
    return ApiKey(
        id=record["id"],
        user=record["user"],
        name=record["name"],
        prefix=record["prefix"],
        scopes=frozenset(record["scopes"].split()),
        created_ms=int(record["created"]),
        expires_ms=int(record["expires"]),
        used_ms=int(record.get("used", 0)),
        role=as_role(record.get("role")),
    )
