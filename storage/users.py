"""Accounts in the state Redis: passwords as scrypt hashes."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from storage import keys
from storage.redis.calls import ARRAY, MAYBE_TEXT, NUMBER, Call, command

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


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=N, r=R, p=P)


def _account(answer: Sequence[Any]) -> Account:
    return Account("admin" if _maybe_text(answer[0]) == "admin" else "user")


def _maybe_text(value: Any) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
