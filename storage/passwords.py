"""Passwords as hashes, by argon2id."""

import hashlib
import hmac
import secrets
from functools import cache

from argon2 import PasswordHasher, exceptions
from argon2.profiles import RFC_9106_LOW_MEMORY

_HASHER = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
"""64 MiB, 3 passes, 4 lanes: the second recommended choice of RFC 9106, about 60 ms of four cores.
The first one takes 2 GiB."""
_OLD_N, _OLD_R, _OLD_P = 2**14, 8, 1
"""Of scrypt, by which the first builds stored passwords, as `salt:digest` in hexadecimal."""


def hashed(password: str) -> str:
    """What is stored of a password: parameters, salt and hash, in the standard form of argon2."""
    return _HASHER.hash(password)


def is_password(stored: str | None, password: str) -> bool:
    """Whether this is the password whose hash is `stored`.

    Without an account (None) this takes just as long, so that the time does not reveal which
    accounts exist.
    """
    is_argon2 = stored is not None and stored.startswith("$argon2")
    is_right = _is_argon2(stored if is_argon2 and stored else _of_nobody(), password)
    if stored is None:
        return False
    return is_right if is_argon2 else _is_scrypt(stored, password)


def is_outdated(stored: str) -> bool:
    """Whether the hash should be made anew, with the present parameters."""
    return not stored.startswith("$argon2") or _HASHER.check_needs_rehash(stored)


def _is_argon2(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except (exceptions.VerificationError, exceptions.InvalidHashError):
        return False


def _is_scrypt(stored: str, password: str) -> bool:
    salt, _, digest = stored.partition(":")
    made = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=_OLD_N, r=_OLD_R, p=_OLD_P)
    return hmac.compare_digest(made.hex(), digest)


@cache
def _of_nobody() -> str:
    return hashed(secrets.token_hex(16))
