"""Passwords as hashes, by argon2id."""

import secrets
from functools import cache

from argon2 import PasswordHasher, exceptions
from argon2.profiles import RFC_9106_LOW_MEMORY

_HASHER = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
"""64 MiB, 3 passes, 4 lanes: the second recommended choice of RFC 9106, about 60 ms of four cores.
The first one takes 2 GiB."""


def hashed(password: str) -> str:
    """What is stored of a password: parameters, salt and hash, in the standard form of argon2."""
    return _HASHER.hash(password)


def is_password(stored: str | None, password: str) -> bool:
    """Whether this is the password whose hash is `stored`.

    Without an account (None) this takes just as long, so that the time does not reveal which
    accounts exist.
    """
    try:
        return _HASHER.verify(stored or _of_nobody(), password)
    except (exceptions.VerificationError, exceptions.InvalidHashError):
        return False


def is_outdated(stored: str) -> bool:
    """Whether the hash should be made anew, with the present parameters."""
    return _HASHER.check_needs_rehash(stored)


@cache
def _of_nobody() -> str:
    return hashed(secrets.token_hex(16))
