"""Whose part of the workers a request uses, and how large it is."""

import hmac

from tasks.settings import settings
from web.jobs.submission import FairShare
from web.middleware.identity import Identity
from web.payer import payer_of


def share_of(identity: Identity) -> FairShare:
    """Whoever pays has one share, so that a new identity is no new share."""
    # A keyed hash, as what orders the backlog outlives what is erased of a user by up to an hour.
    flow = hmac.digest(
        settings().secret.encode(), f"flow:{payer_of(identity)}".encode(), "sha256"
    ).hex()[:24]
    return FairShare(flow, settings().weights[identity.role])
