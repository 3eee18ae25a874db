"""Accounts and API keys in the state Redis: passwords as scrypt hashes, API keys as SHA-256."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from storage import keys
from storage.redis.calls import ARRAY, MAYBE_TEXT, NUMBER, TEXT, Call, command

Role = Literal["user", "admin"]

N, R, P = 2**14, 8, 1
"""Cost parameters of scrypt (RFC 7914): checking a password takes about 40 ms and 16 MiB."""


@dataclass(frozen=True)
class Account:
    """What requests need to know of a user."""

    role: Role


def set_password(user: str, password: str, role: str = "admin") -> Call[Any]:
    """Create an account, or replace the password and role of an existing one."""
    salt = secrets.token_bytes(16)
    stored = f"{salt.hex()}:{_hash(password, salt).hex()}"
    words = ("HSET", keys.user(user), "password", stored, "role", role)
    return command(bool, *words, kinds=NUMBER)


def password_hash(user: str) -> Call[str | None]:
    """The stored hash, for `is_password`; None if there is no such account."""
    return command(_maybe_text, "HGET", keys.user(user), "password", kinds=MAYBE_TEXT)


def account(user: str) -> Call[Account]:
    """What is known of a user, who may have no account."""
    return command(_account, "HMGET", keys.user(user), "role", kinds=ARRAY)


def is_password(stored: str | None, password: str) -> bool:
    """Whether this is the password whose hash is `stored`.

    Without an account (None) this takes just as long, so that the time does not reveal which
    accounts exist.
    """
    salt, _, digest = (stored or f"{'00' * 16}:").partition(":")
    return hmac.compare_digest(_hash(password, bytes.fromhex(salt)).hex(), digest)


def add_key(key: str, user: str) -> Call[Any]:
    """Make this an API key of this user."""
    return command(bool, "SET", keys.api_key(key), user, kinds=TEXT)


def user_of_key(key: str) -> Call[str | None]:
    """The user whom an API key belongs to; None if the key is unknown."""
    return command(_maybe_text, "GET", keys.api_key(key), kinds=MAYBE_TEXT)


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=N, r=R, p=P)


def _account(answer: Sequence[Any]) -> Account:
    return Account("admin" if _maybe_text(answer[0]) == "admin" else "user")


def _maybe_text(value: Any) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
