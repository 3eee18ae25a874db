"""Whose part of the workers a request uses, and how large it is."""

import hmac

from tasks.settings import settings
from web.addresses import is_trusted
from web.jobs.submission import FairShare
from web.middleware.identity import Identity


def share_of(identity: Identity) -> FairShare:
    """By user; visitors of open mode by address, so that a new identity is no new share."""
    owner = identity.user
    if identity.kind == "browser" and not is_trusted(identity.address):
        owner = f"address:{identity.address}"
    # A keyed hash, as what orders the backlog outlives what is erased of a user by up to an hour.
    flow = hmac.digest(settings().secret.encode(), b"flow:" + owner.encode(), "sha256").hex()[:24]
    return FairShare(flow, settings().weights[identity.role])
