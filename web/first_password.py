"""Proof that somebody has just typed the password that was made for them, to replace it."""

import hashlib

from itsdangerous import BadSignature, TimestampSigner

from storage.users import Credentials
from tasks.settings import settings

PROOF_S = 600
"""How long somebody may take to choose a password."""


def proof(user: str, known: Credentials) -> str:
    """Text for a form: it names this very password, without its hash."""
    return _signer().sign(f"{user}.{_digest(known)}").decode()


def user_of(proof: str) -> str:
    """Whose proof it is; empty if it is not ours, or too old."""
    try:
        return _signer().unsign(proof, max_age=PROOF_S).decode().rpartition(".")[0]
    except BadSignature:
        return ""


def is_of(proof: str, known: Credentials) -> bool:
    """Whether the account still has the first password that was typed; `user_of` has checked it."""
    return known.first_until_ms > 0 and f".{_digest(known)}." in proof


def _digest(known: Credentials) -> str:
    return hashlib.sha256((known.password or "").encode()).hexdigest()


def _signer() -> TimestampSigner:
    # itsdangerous uses SHA-1 unless it is told otherwise.
    return TimestampSigner(settings().secret, salt="first-password", digest_method=hashlib.sha256)
