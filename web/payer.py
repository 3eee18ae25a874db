"""Whose quotas a request uses."""

import hmac

from tasks.settings import settings
from web.addresses import is_trusted
from web.middleware.identity import Identity


def payer_of(identity: Identity) -> str:
    """The user; for visitors of open mode their address, so that a new identity has no new quotas.

    Visitors of this machine itself are told apart by their cookies alone.
    """
    if identity.kind != "browser" or is_trusted(identity.address):
        return identity.user
    # The address itself is written down nowhere.
    name = identity.address.encode()
    return f"address:{hmac.digest(settings().secret.encode(), name, 'sha256').hex()[:24]}"
