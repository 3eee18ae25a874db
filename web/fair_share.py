"""Whose part of the workers a request uses, and how large it is."""

import hmac
from functools import lru_cache

from tasks.settings import settings
from web.jobs.submission import FairShare
from web.middleware.identity import Identity
from web.payer import payer_of


def share_of(identity: Identity) -> FairShare:
    """Whoever pays has one share, so that a new identity is no new share."""
    flow = _flow(settings().secret, payer_of(identity))
    return FairShare(flow, settings().weights[identity.role])


@lru_cache(maxsize=1024)
def _flow(secret: str, payer: str) -> str:
    # A keyed hash, as what orders the backlog outlives what is erased of a user by up to an hour.
    return hmac.digest(secret.encode(), f"flow:{payer}".encode(), "sha256").hex()[:24]
